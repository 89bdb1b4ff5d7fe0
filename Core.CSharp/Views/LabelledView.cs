using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>One view of each image with its class: what supervised baselines train on.</summary>
/// <param name="images">(N, C, H, W) float32, normalised.</param>
/// <param name="labels">(N) int64.</param>
public sealed class LabelledView(torch.Tensor images, torch.Tensor labels) : IViews
{
    /// <summary>(N, C, H, W) float32.</summary>
    public torch.Tensor Images { get; } = images.shape is [_, _, _, _]
        ? images
        : throw new ArgumentException($"expected (N, C, H, W), received ({string.Join(", ", images.shape)})", nameof(images));

    /// <summary>(N) int64.</summary>
    public torch.Tensor Labels { get; } = labels.shape is [var n] && n == images.shape[0]
        ? labels
        : throw new ArgumentException($"expected ({images.shape[0]}), received ({string.Join(", ", labels.shape)})", nameof(labels));

    /// <inheritdoc/>
    public long Count => Images.shape[0];
}

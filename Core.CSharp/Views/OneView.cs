using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>One view of each image, nothing else: what autoencoders learn from.</summary>
/// <param name="images">(N, C, H, W) float32, normalised.</param>
public sealed class OneView(torch.Tensor images) : IViews
{
    /// <summary>(N, C, H, W) float32.</summary>
    public torch.Tensor Images { get; } = images.shape is [_, _, _, _]
        ? images
        : throw new ArgumentException($"expected (N, C, H, W), received ({string.Join(", ", images.shape)})", nameof(images));

    /// <inheritdoc/>
    public long Count => Images.shape[0];
}

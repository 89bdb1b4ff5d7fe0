using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>One square view of each image in its four orientations.</summary>
/// <param name="images">(4N, C, S, S) float32, normalised: all N images upright, then turned by 90°, 180° and 270° counter-clockwise.</param>
public sealed class RotatedView(torch.Tensor images) : IViews
{
    /// <summary>Quarter turns: 0, 1, 2, 3.</summary>
    public const int Turns = 4;

    /// <summary>(4N, C, S, S) float32; row t·N + i is image i after t quarter turns.</summary>
    public torch.Tensor Images { get; } = images.shape is [var rows, _, var height, var width] && rows % Turns == 0 && height == width
        ? images
        : throw new ArgumentException($"expected (4N, C, S, S), received ({string.Join(", ", images.shape)})", nameof(images));

    /// <inheritdoc/>
    public long Count => Images.shape[0] / Turns;
}

using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>One view of each image in CIE Lab (D65, from sRGB): lightness, and the two chroma channels at the same or a lower resolution.</summary>
/// <param name="lightness">(N, 1, H, W) float32, L* from 0 to 100.</param>
/// <param name="chroma">(N, 2, h, w) float32, a* and b*, about −108 to 98; H and W are the same whole multiple of h and w.</param>
public sealed class LabView(torch.Tensor lightness, torch.Tensor chroma) : IViews
{
    /// <summary>(N, 1, H, W) float32.</summary>
    public torch.Tensor Lightness { get; } = lightness.shape is [_, 1, _, _]
        ? lightness
        : throw new ArgumentException($"expected (N, 1, H, W), received ({string.Join(", ", lightness.shape)})", nameof(lightness));

    /// <summary>(N, 2, h, w) float32.</summary>
    public torch.Tensor Chroma { get; } = chroma.shape is [var n, 2, var h, var w] && lightness.shape is [var m, _, var height, var width] && n == m
        && h > 0 && w > 0 && height % h == 0 && width % w == 0 && height / h == width / w
        ? chroma
        : throw new ArgumentException(
            $"expected ({lightness.shape[0]}, 2, H/k, W/k) beside lightness of ({string.Join(", ", lightness.shape)}), received ({string.Join(", ", chroma.shape)})", nameof(chroma));

    /// <inheritdoc/>
    public long Count => Lightness.shape[0];
}

using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>One view of each image, cut into the nine cells of a 3×3 grid.</summary>
/// <param name="patches">(9N, C, p, p) float32: cell 0 of all N images, then cell 1, …; cells counted row by row.</param>
public sealed class PatchGrid(torch.Tensor patches) : IViews
{
    /// <summary>Cells along a side.</summary>
    public const int Side = 3;

    /// <summary>Cells of an image.</summary>
    public const int Cells = Side * Side;

    /// <summary>(9N, C, p, p) float32; row j·N + i is cell j of image i.</summary>
    public torch.Tensor Patches { get; } = patches.shape is [var rows, _, var height, var width] && rows % Cells == 0 && height == width
        ? patches
        : throw new ArgumentException($"expected (9N, C, p, p), received ({string.Join(", ", patches.shape)})", nameof(patches));

    /// <inheritdoc/>
    public long Count => Patches.shape[0] / Cells;
}

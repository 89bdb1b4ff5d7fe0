using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>
/// One view of each image, the patches of it that are shown, and blocks of patches that are to be predicted from those (Assran et al. 2023).
/// All images have equal counts, so patches are gathered by index. Blocks of one image may overlap each other, never the context.
/// </summary>
/// <param name="images">(N, C, H, W) float32, normalised; nothing is blanked out.</param>
/// <param name="context">(N, Kc) int64: the patches that are shown, counted row by row, in no particular order.</param>
/// <param name="targets">(N, M·Kt) int64: M blocks of Kt patches each, block by block.</param>
/// <param name="blocks">M, at least 1.</param>
/// <param name="patches">P: patches of an image, which all indices lie below.</param>
public sealed class ContextTargets(torch.Tensor images, torch.Tensor context, torch.Tensor targets, int blocks, int patches) : IViews
{
    /// <summary>(N, C, H, W) float32.</summary>
    public torch.Tensor Images { get; } = images.shape is [_, _, _, _]
        ? images
        : throw new ArgumentException($"expected (N, C, H, W), received ({string.Join(", ", images.shape)})", nameof(images));

    /// <summary>(N, Kc) int64.</summary>
    public torch.Tensor Context { get; } = context.shape is [var n, > 0] && n == images.shape[0]
        ? context
        : throw new ArgumentException($"expected ({images.shape[0]}, Kc), received ({string.Join(", ", context.shape)})", nameof(context));

    /// <summary>(N, M·Kt) int64, block by block.</summary>
    public torch.Tensor Targets { get; } = targets.shape is [var n, > 0 and var k] && n == images.shape[0] && blocks > 0 && k % blocks == 0
        ? targets
        : throw new ArgumentException($"expected ({images.shape[0]}, {blocks}·Kt), received ({string.Join(", ", targets.shape)})", nameof(targets));

    /// <summary>M: blocks of each image.</summary>
    public int Blocks { get; } = blocks;

    /// <summary>P: patches of an image.</summary>
    public int Patches { get; } = patches > 0
        ? patches
        : throw new ArgumentException($"expected at least 1 patch, received {patches}", nameof(patches));

    /// <inheritdoc/>
    public long Count => Images.shape[0];
}

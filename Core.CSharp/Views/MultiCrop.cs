using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>Two large crops of each image and any number of small ones, in their own resolution (Caron et al. 2020, section 3.3).</summary>
/// <param name="globals">(2N, C, H, W) float32, normalised: the first large crops of all N images, then the second.</param>
/// <param name="locals">(L·N, C, h, w) float32, normalised: row v·N + i is small crop v of image i; null where there are none.</param>
public sealed class MultiCrop(torch.Tensor globals, torch.Tensor? locals) : IViews
{
    /// <summary>(2N, C, H, W) float32.</summary>
    public torch.Tensor Globals { get; } = globals.shape is [>= 2 and var rows, _, _, _] && rows % 2 == 0
        ? globals
        : throw new ArgumentException($"expected (2N, C, H, W) with N ≥ 1, received ({string.Join(", ", globals.shape)})", nameof(globals));

    /// <summary>(L·N, C, h, w) float32; null where L = 0.</summary>
    public torch.Tensor? Locals { get; } = locals is null || (locals.shape is [var rows, var channels, _, _]
        && rows > 0 && rows % (globals.shape[0] / 2) == 0 && channels == globals.shape[1])
        ? locals
        : throw new ArgumentException(
            $"expected (L·{globals.shape[0] / 2}, {globals.shape[1]}, h, w) with L ≥ 1, received ({string.Join(", ", locals.shape)})", nameof(locals));

    /// <inheritdoc/>
    public long Count => Globals.shape[0] / 2;

    /// <summary>L: small crops of each image.</summary>
    public int LocalCount => Locals is null ? 0 : (int)(Locals.shape[0] / Count);

    /// <summary>2 + L: crops of each image.</summary>
    public int CropCount => 2 + LocalCount;
}

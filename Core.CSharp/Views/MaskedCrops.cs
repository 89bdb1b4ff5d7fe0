using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>
/// Crops as <see cref="MultiCrop"/> has them, and which patches of the large ones are hidden from a student: each crop hides its own, as many
/// as it likes, or none.
/// </summary>
/// <param name="globals">(2N, C, H, W) float32, normalised; nothing is blanked out.</param>
/// <param name="locals">(L·N, C, h, w) float32, normalised; null where there are none.</param>
/// <param name="masks">(2N, P) float32: row v·N + i says of each patch of large crop v of image i, row by row, whether it is hidden (1) or not (0).</param>
/// <param name="most">The most patches that any crop may hide, 1 … P: what lets a method gather them without asking a device for their number.</param>
public sealed class MaskedCrops(torch.Tensor globals, torch.Tensor? locals, torch.Tensor masks, int most) : IViews
{
    /// <summary>The crops without masks.</summary>
    public MultiCrop Crops { get; } = new(globals, locals);

    /// <summary>(2N, C, H, W) float32.</summary>
    public torch.Tensor Globals => Crops.Globals;

    /// <summary>(L·N, C, h, w) float32; null where L = 0.</summary>
    public torch.Tensor? Locals => Crops.Locals;

    /// <summary>(2N, P) float32, 1 for hidden patches.</summary>
    public torch.Tensor Masks { get; } = masks.shape is [var rows, > 0] && rows == globals.shape[0]
        ? masks
        : throw new ArgumentException($"expected ({globals.shape[0]}, P), received ({string.Join(", ", masks.shape)})", nameof(masks));

    /// <summary>The most patches that any crop may hide.</summary>
    public int Most { get; } = most >= 1 && most <= masks.shape[1]
        ? most
        : throw new ArgumentException($"expected 1 to {masks.shape[1]} patches, received {most}", nameof(most));

    /// <inheritdoc/>
    public long Count => Crops.Count;

    /// <summary>P: patches of a large crop.</summary>
    public int Patches => (int)Masks.shape[1];
}

using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>
/// One view of each image and which of its patches are hidden. All images hide the same number of patches, each its own: so patches are
/// gathered by index, and nothing depends on a count that only the tensor knows.
/// </summary>
/// <param name="images">(N, C, H, W) float32, normalised; nothing is blanked out.</param>
/// <param name="order">(N, P) int64: each row holds every patch 0 … P − 1 once, counted row by row; first the visible ones, then the hidden ones.</param>
/// <param name="visible">Number of visible patches, 0 … P.</param>
public sealed class MaskedView(torch.Tensor images, torch.Tensor order, int visible) : IViews
{
    /// <summary>(N, C, H, W) float32.</summary>
    public torch.Tensor Images { get; } = images.shape is [_, _, _, _]
        ? images
        : throw new ArgumentException($"expected (N, C, H, W), received ({string.Join(", ", images.shape)})", nameof(images));

    /// <summary>(N, P) int64: the visible patches, then the hidden ones.</summary>
    public torch.Tensor Order { get; } = order.shape is [var n, > 0] && n == images.shape[0]
        ? order
        : throw new ArgumentException($"expected ({images.shape[0]}, P), received ({string.Join(", ", order.shape)})", nameof(order));

    /// <summary>Number of visible patches of each image.</summary>
    public int Visible { get; } = visible >= 0 && visible <= order.shape[1]
        ? visible
        : throw new ArgumentException($"expected 0 to {order.shape[1]} visible patches, received {visible}", nameof(visible));

    /// <inheritdoc/>
    public long Count => Images.shape[0];

    /// <summary>P: patches of an image.</summary>
    public int Patches => (int)Order.shape[1];

    /// <summary>Number of hidden patches of each image.</summary>
    public int Hidden => Patches - Visible;

    /// <summary>(N, <see cref="Visible"/>) int64, a view of <see cref="Order"/>.</summary>
    public torch.Tensor VisibleIndices() => Order.narrow(1, 0, Visible);

    /// <summary>(N, <see cref="Hidden"/>) int64, a view of <see cref="Order"/>.</summary>
    public torch.Tensor HiddenIndices() => Order.narrow(1, Visible, Hidden);
}

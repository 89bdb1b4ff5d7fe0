using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>Two views of each image, kept as one tensor so that one pass serves both.</summary>
/// <param name="both">(2N, C, H, W) float32, normalised: the first views of all N images, then the second.</param>
public sealed class TwoViews(torch.Tensor both) : IViews
{
    /// <summary>(2N, C, H, W) float32.</summary>
    public torch.Tensor Both { get; } = both.shape is [var rows, _, _, _] && rows % 2 == 0
        ? both
        : throw new ArgumentException($"expected (2N, C, H, W), received ({string.Join(", ", both.shape)})", nameof(both));

    /// <inheritdoc/>
    public long Count => Both.shape[0] / 2;

    /// <summary>(N, C, H, W) float32, a view of <see cref="Both"/>.</summary>
    public torch.Tensor First() => Both.narrow(0, 0, Count);

    /// <summary>(N, C, H, W) float32, a view of <see cref="Both"/>.</summary>
    public torch.Tensor Second() => Both.narrow(0, Count, Count);
}

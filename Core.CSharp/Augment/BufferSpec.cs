using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>One tensor of a batch.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Type">float32 or int64.</param>
/// <param name="RowsPerImage">How many rows each image fills: row v·N + i belongs to view v of image i.</param>
/// <param name="RowShape">Shape of one row, for example (C, H, W); empty for scalars.</param>
public sealed record BufferSpec(string Name, torch.ScalarType Type, int RowsPerImage, IReadOnlyList<long> RowShape)
{
    /// <summary>Elements in one row.</summary>
    public long RowElements { get; } = RowShape.Aggregate(1L, (a, b) => a * b);
}

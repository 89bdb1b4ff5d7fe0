using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Normalised temperature-scaled cross entropy (Chen et al. 2020, eq. 1), mean over all 2N views:
/// each view has to find the other view of its image among the 2N−1 others.
/// </summary>
public static class NtXent
{
    // As in PyTorch's normalize: vectors shorter than this are divided by it.
    private const double NormFloor = 1e-12;

    /// <summary>Loss of a batch whose views lie one after the other.</summary>
    /// <param name="z">(2N, d) float32 or float64, any length: rows i and N+i belong to one image.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>Scalar of z's dtype, with its graph; finite, and so is its gradient, also where all rows are equal.</returns>
    /// <exception cref="ArgumentException">Not (2N, d) with N ≥ 1, or τ not positive.</exception>
    public static Tensor Loss(Tensor z, double temperature)
    {
        if (z.shape is not [var rows, > 0] || rows < 2 || rows % 2 != 0)
        {
            throw new ArgumentException($"expected (2N, d) with N ≥ 1, received ({string.Join(", ", z.shape)})", nameof(z));
        }

        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }

        using var scope = NewDisposeScope();
        var unit = nn.functional.normalize(z, 2, 1, NormFloor);
        var self = zeros(rows, rows, z.dtype, z.device);
        self.diagonal().fill_(double.NegativeInfinity); // a view is no candidate for itself
        var logits = addmm(self, unit.mul(1 / temperature), unit.t(), 1, 1); // (2N, 2N)
        var partner = arange(rows, dtype: ScalarType.Int64, device: z.device).add_(rows / 2).remainder_(rows); // (2N)
        return nn.functional.cross_entropy(logits, partner).MoveToOuterDisposeScope();
    }

    /// <summary>Loss of two batches of views; the same as for both concatenated.</summary>
    /// <param name="first">(N, d).</param>
    /// <param name="second">(N, d): the other view of each image.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d), or τ is not positive.</exception>
    public static Tensor Loss(Tensor first, Tensor second, double temperature)
    {
        if (first.dim() != 2 || !first.shape.AsSpan().SequenceEqual(second.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, d), received ({string.Join(", ", first.shape)}) and ({string.Join(", ", second.shape)})", nameof(second));
        }

        using var both = cat([first, second], 0);
        return Loss(both, temperature);
    }

    /// <summary>ln(2N−1): the value for N images when no view tells its partner from the others, and when all are equal.</summary>
    public static double Chance(int images) => Math.Log((2.0 * images) - 1);
}

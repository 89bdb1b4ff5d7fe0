using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Normalised temperature-scaled cross entropy (Chen et al. 2020, eq. 1), mean over all 2N views:
/// each view has to find the other view of its image among the 2N−1 others.
/// </summary>
public static class NtXent
{
    /// <summary>Loss of a batch whose views lie one after the other.</summary>
    /// <param name="z">(2N, d) float32 or float64, any length: rows i and N+i belong to one image.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>Scalar of z's dtype, with its graph; finite, and so is its gradient, also where all rows are equal.</returns>
    /// <exception cref="ArgumentException">Not (2N, d) with N ≥ 1, or τ not positive.</exception>
    public static Tensor Loss(Tensor z, double temperature)
    {
        if (Aten.Sizes(z) is not [var rows, > 0] || rows < 2 || rows % 2 != 0)
        {
            throw new ArgumentException($"expected (2N, d) with N ≥ 1, received ({string.Join(", ", z.shape)})", nameof(z));
        }

        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }

        // Dispose scopes know tensors alone; an implicit scalar would wait for the garbage collector.
        using Scalar never = double.NegativeInfinity.ToScalar(), sharpness = (1 / temperature).ToScalar(), first = (rows / 2).ToScalar(), end = (rows + (rows / 2)).ToScalar(), one = (1L).ToScalar(), count = rows.ToScalar();
        using var scope = NewDisposeScope();
        var unit = UnitRows.Of(z);
        var self = zeros(rows, rows, z.dtype, z.device);
        self.diagonal().fill_(never); // a view is no candidate for itself
        var logits = MatrixProduct.Linear(unit.mul(sharpness), unit).add_(self); // (2N, 2N)
        var partner = arange(first, end, one, ScalarType.Int64, z.device).remainder_(count); // (2N)
        return nn.functional.cross_entropy(logits, partner).MoveToOuterDisposeScope();
    }

    /// <summary>Loss of two batches of views; the same as for both concatenated.</summary>
    /// <param name="first">(N, d).</param>
    /// <param name="second">(N, d): the other view of each image.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d), or τ is not positive.</exception>
    public static Tensor Loss(Tensor first, Tensor second, double temperature)
    {
        if (first.dim() != 2 || !Aten.Sizes(first).SequenceEqual(Aten.Sizes(second)))
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

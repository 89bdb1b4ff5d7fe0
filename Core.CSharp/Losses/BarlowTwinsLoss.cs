using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>How <see cref="BarlowTwinsLoss"/> standardises each dimension over the batch.</summary>
public enum BarlowDeviation
{
    /// <summary>(z − μ)/√(σ² + 1e-5) with the biased variance: batch normalisation, as the authors' code, lightly and solo-learn do.</summary>
    Biased,

    /// <summary>(z − μ)/(σ + 1e-5) with the unbiased deviation, as stable-pretraining does.</summary>
    Unbiased,
}

/// <summary>
/// Barlow Twins (Zbontar et al. 2021, eq. 1 and 2): the cross-correlation C of the two views' dimensions is drawn to the identity,
/// Σᵢ(1 − Cᵢᵢ)² + λ·Σᵢ Σ_{j≠i} Cᵢⱼ².
/// </summary>
public static class BarlowTwinsLoss
{
    private const double Epsilon = 1e-5;

    /// <summary>Loss of two batches of views.</summary>
    /// <param name="a">(N, d) float32 or float64, N ≥ 2.</param>
    /// <param name="b">(N, d): the other view of each image.</param>
    /// <param name="lambda">λ ≥ 0: weight of the terms off the diagonal.</param>
    /// <param name="scale">Factor of the whole loss, positive.</param>
    /// <param name="deviation">Which standardisation.</param>
    /// <returns>Scalar of a's dtype with its graph; finite, and so is its gradient, also where all rows are equal.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d) with N ≥ 2, or a number is out of range.</exception>
    public static Tensor Loss(Tensor a, Tensor b, double lambda, double scale = 1, BarlowDeviation deviation = BarlowDeviation.Biased)
    {
        if (a.shape is not [> 1, > 0] || !a.shape.AsSpan().SequenceEqual(b.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, d) with N ≥ 2, received ({string.Join(", ", a.shape)}) and ({string.Join(", ", b.shape)})", nameof(b));
        }

        if (!(lambda >= 0) || !double.IsFinite(lambda) || !(scale > 0) || !double.IsFinite(scale))
        {
            throw new ArgumentException($"λ is 0 or above and the scale positive; received λ {lambda}, scale {scale}.", nameof(lambda));
        }

        using var scope = NewDisposeScope();
        var (n, d) = (a.shape[0], a.shape[1]);
        var (x, y) = (Standardised(a, deviation), Standardised(b, deviation)); // (N, d)
        var diagonal = x.mul(y).sum([0L]).div(Scalars.Of(n)); // (d): Cᵢᵢ

        // ΣCᵢⱼ² is the squared norm of xᵀy/N, which is the inner product of the views' Gram matrices over N²: the smaller way is taken.
        var squares = 2 * n < d
            ? MatrixProduct.Linear(x, x).mul(MatrixProduct.Linear(y, y)).sum().div(Scalars.Of((double)n * n))
            : MatrixProduct.Linear(x.t(), y.t()).div(Scalars.Of(n)).square().sum();
        var off = OffDiagonal.Squares(squares, diagonal.square().sum(), x, y, n);
        return diagonal.sub(Scalars.Of(1)).square().sum().add(off, Scalars.Of(lambda)).mul(Scalars.Of(scale)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Expected value for N images of embeddings that say nothing of each other's view: correlations of N unrelated values have the mean square 1/(N−1),
    /// so d·(1 + 1/(N−1)) + λ·d(d−1)/(N−1), times the scale.
    /// </summary>
    public static double Chance(int images, int dimensions, double lambda, double scale = 1) =>
        scale * dimensions * (1 + ((1 + (lambda * (dimensions - 1))) / Math.Max(1, images - 1)));

    /// <summary>d times the scale: the value where all embeddings are equal, since nothing correlates then.</summary>
    public static double Collapsed(int dimensions, double scale = 1) => scale * dimensions;

    private static Tensor Standardised(Tensor z, BarlowDeviation deviation)
    {
        var centred = z.sub(z.mean([0L], keepdim: true));
        return deviation == BarlowDeviation.Biased
            ? centred.mul(centred.square().mean([0L], keepdim: true).add(Scalars.Of(Epsilon)).rsqrt())
            : centred.div(z.std(0, unbiased: true, keepdim: true).add(Scalars.Of(Epsilon)));
    }
}

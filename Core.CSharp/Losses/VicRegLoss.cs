using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>How <see cref="VicRegLoss"/> puts the covariance term on a scale.</summary>
public enum VicRegCovariance
{
    /// <summary>Σ_{j≠i} Cᵢⱼ²/d, summed over the two views: paper, lightly, solo-learn.</summary>
    OverDimensions,

    /// <summary>The same, averaged over the two views: VICRegL's global term.</summary>
    OverDimensionsHalved,

    /// <summary>Mean of Cᵢⱼ² over the d² − d places off the diagonal, summed over the two views: eb_jepa.</summary>
    Mean,
}

/// <summary>Weights and form of <see cref="VicRegLoss"/>.</summary>
/// <param name="Invariance">Weight of the mean squared difference, 0 or above.</param>
/// <param name="Variance">Weight of the hinge on deviations, 0 or above.</param>
/// <param name="Covariance">Weight of the covariance term, 0 or above.</param>
/// <param name="HalvedVariance">Whether the hinge is averaged over the two views (paper, lightly, VICRegL) or summed (solo-learn, eb_jepa).</param>
/// <param name="CovarianceScale">Scale of the covariance term.</param>
public sealed record VicRegTerms(double Invariance, double Variance, double Covariance, bool HalvedVariance, VicRegCovariance CovarianceScale);

/// <summary>
/// VICReg (Bardes et al. 2022, eq. 1–6): views of an image agree in mean square, each dimension keeps a deviation of at least 1 over the batch
/// (hinge on √(σ² + 1e-4), unbiased variance), and dimensions do not covary.
/// The paper's eq. 6 sums the hinge of both views; its authors' code averages them, and so does the form with halved variance here.
/// </summary>
public static class VicRegLoss
{
    private const double Epsilon = 1e-4;

    /// <summary>Loss of two batches of views.</summary>
    /// <param name="a">(N, d) float32 or float64, N ≥ 2, not normalised.</param>
    /// <param name="b">(N, d): the other view of each image.</param>
    /// <param name="terms">Weights and form.</param>
    /// <returns>Scalar of a's dtype with its graph; finite, and so is its gradient, also where all rows are equal.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d) with N ≥ 2, or a weight is negative.</exception>
    public static Tensor Loss(Tensor a, Tensor b, VicRegTerms terms)
    {
        if (a.shape is not [> 1, > 0] || !a.shape.AsSpan().SequenceEqual(b.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, d) with N ≥ 2, received ({string.Join(", ", a.shape)}) and ({string.Join(", ", b.shape)})", nameof(b));
        }

        Check(terms);
        using var scope = NewDisposeScope();
        var invariance = a.sub(b).square().mean();
        var (hingeA, covarianceA) = Spread(a, terms);
        var (hingeB, covarianceB) = Spread(b, terms);
        var variance = terms.Variance * (terms.HalvedVariance ? 0.5 : 1);
        return invariance.mul(Scalars.Of(terms.Invariance))
            .add(hingeA.add(hingeB), Scalars.Of(variance))
            .add(covarianceA.add(covarianceB), Scalars.Of(terms.Covariance))
            .MoveToOuterDisposeScope();
    }

    /// <summary>Refuses weights that are negative or not finite.</summary>
    /// <exception cref="ArgumentException">Such a weight.</exception>
    public static void Check(VicRegTerms terms)
    {
        if (!(terms.Invariance >= 0 && terms.Variance >= 0 && terms.Covariance >= 0) || !double.IsFinite(terms.Invariance + terms.Variance + terms.Covariance))
        {
            throw new ArgumentException(
                $"The weights are 0 or above; received invariance {terms.Invariance}, variance {terms.Variance}, covariance {terms.Covariance}.", nameof(terms));
        }
    }

    /// <summary>
    /// The lowest value that views which say nothing of each other can be expected to reach with many images: with deviation s in every dimension
    /// they cost 2·s² of invariance and 1 − s of each hinge, and the best s is found in closed form.
    /// </summary>
    public static double Chance(VicRegTerms terms)
    {
        var hinge = terms.Variance * (terms.HalvedVariance ? 1 : 2);
        var best = terms.Invariance > 0 ? Math.Min(1, hinge / (4 * terms.Invariance)) : 1;
        return (terms.Invariance * 2 * best * best) + (hinge * (1 - best));
    }

    /// <summary>The value where all embeddings are equal: 1 − √1e-4 = 0.99 of each hinge.</summary>
    public static double Collapsed(VicRegTerms terms) => terms.Variance * (terms.HalvedVariance ? 1 : 2) * (1 - Math.Sqrt(Epsilon));

    private static (Tensor Hinge, Tensor Covariance) Spread(Tensor z, VicRegTerms terms)
    {
        var (n, d) = (z.shape[0], z.shape[1]);
        var centred = z.sub(z.mean([0L], keepdim: true)); // (N, d)
        var variance = centred.square().sum([0L]).div(Scalars.Of(n - 1)); // (d)
        var hinge = variance.add(Scalars.Of(Epsilon)).sqrt().neg().add(Scalars.Of(1)).relu().mean();

        // The sum of squares of the covariance matrix is that of the Gram matrix, whichever of the two is smaller; its diagonal is the variance.
        var shorter = n < d ? centred : centred.t();
        var matrix = MatrixProduct.Linear(shorter, shorter);
        var off = OffDiagonal.Squares(matrix.div(Scalars.Of(n - 1)).square().sum(), variance.square().sum(), centred, centred, n - 1);
        double places = terms.CovarianceScale switch
        {
            VicRegCovariance.OverDimensions => d,
            VicRegCovariance.OverDimensionsHalved => 2 * d,
            _ => Math.Max(1, d * (d - 1)),
        };
        return (hinge, off.div(Scalars.Of(places)));
    }
}

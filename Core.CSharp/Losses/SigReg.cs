using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// SIGReg (Balestriero and LeCun 2025): how far embeddings are from an isotropic standard normal distribution, by the Epps-Pulley test of their
/// projections on directions. For projections x of N images,
/// N·∫ |mean exp(itx) − exp(−t²/2)|² exp(−t²/2) dt over −T … T, by the trapezoid rule on knots from 0 to T, doubled by symmetry;
/// then the mean over directions. The paper integrates from −5 to 5; the authors' later code and lightly take T = 3 and half the range.
/// </summary>
public static class SigReg
{
    // Largest projection times knot that float32 serves: the sines of angles up to here are good to 1e-5.
    private const double LargestAngle = 64;

    /// <summary>Mean of the statistic over directions.</summary>
    /// <param name="z">(N, d) or, for several views at once, (V, N, d): the statistic is one of each view, and the mean is over views too.</param>
    /// <param name="directions">(d, S) of z's dtype, columns of length 1, no gradient.</param>
    /// <param name="knots">Points of the integral, 2 or more.</param>
    /// <param name="limit">T &gt; 0.</param>
    /// <returns>Scalar of z's dtype with its graph; finite, and so is its gradient.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, fewer than two knots, or T not positive.</exception>
    public static Tensor Loss(Tensor z, Tensor directions, int knots, double limit)
    {
        using var statistics = Statistics(z, directions, knots, limit);
        return statistics.mean();
    }

    /// <summary>The statistic of each direction.</summary>
    /// <param name="z">(N, d) or (V, N, d).</param>
    /// <param name="directions">(d, S), columns of length 1.</param>
    /// <param name="knots">Points of the integral, 2 or more.</param>
    /// <param name="limit">T &gt; 0.</param>
    /// <returns>(S), or (V, S) for several views.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, fewer than two knots, or T not positive.</exception>
    public static Tensor Statistics(Tensor z, Tensor directions, int knots, double limit)
    {
        if (z.dim() is not (2 or 3) || z.shape.Any(s => s < 1) || directions.dim() != 2 || directions.shape[0] != z.shape[^1] || directions.shape[1] < 1)
        {
            throw new ArgumentException(
                $"expected (N, d) or (V, N, d) and directions (d, S), received ({string.Join(", ", z.shape)}) and ({string.Join(", ", directions.shape)})",
                nameof(directions));
        }

        if (knots < 2 || !(limit > 0) || !double.IsFinite(limit))
        {
            throw new ArgumentException($"At least 2 knots up to a positive limit; received {knots} up to {limit}.", nameof(knots));
        }

        using var scope = NewDisposeScope();
        var x = MatrixProduct.Linear(z, directions.t()); // (…, N, S)
        if (x.dtype == ScalarType.Float32 && !(x.detach().abs().max().item<float>() * limit <= LargestAngle))
        {
            return Statistics(z.to(ScalarType.Float64), directions.to(ScalarType.Float64), knots, limit).to(ScalarType.Float32).MoveToOuterDisposeScope();
        }

        var (value, slope) = Differentiated(x.detach(), knots, limit);

        // A value whose derivative is known: what is added is 0, and its gradient is the slope.
        return value.add(x.sub(x.detach()).mul(slope).sum([-2L])).MoveToOuterDisposeScope(); // (…, S)
    }

    /// <summary>Expected statistic of N images whose projections are normal with mean 0 and this deviation.</summary>
    public static double Expected(int images, double deviation, int knots, double limit)
    {
        var (points, normal, weights) = Quadrature(knots, limit);
        var sum = 0.0;
        for (var k = 0; k < knots; k++)
        {
            // E|φ̂|² = φ² + (1 − φ²)/N for the mean of N independent values.
            var own = Math.Exp(-0.5 * deviation * deviation * points[k] * points[k]);
            var bias = own - normal[k];
            sum += weights[k] * ((images * bias * bias) + 1 - (own * own));
        }

        return sum;
    }

    /// <summary>The lowest statistic that N equal embeddings can have: that of zeros.</summary>
    public static double Collapsed(int images, int knots, double limit) => Expected(images, 0, knots, limit);

    /// <summary>
    /// The statistic and its derivative with respect to each projection. cos kθ and sin kθ follow from those of θ by rotation and Horner's rule,
    /// so that nothing is ever as large as projections times knots, which autograd would keep several times. float32 on the CPU has a kernel for it.
    /// </summary>
    /// <param name="x">(…, N, S), no gradient.</param>
    /// <param name="knots">Points of the integral.</param>
    /// <param name="limit">End of the integral.</param>
    /// <returns>(…, S) and (…, N, S).</returns>
    private static (Tensor Value, Tensor Slope) Differentiated(Tensor x, int knots, double limit)
    {
        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var (points, normal, weights) = Quadrature(knots, limit);
        if (SigRegKernel.Serves(x, knots))
        {
            var (statistic, derivative) = SigRegKernel.Apply(x, points, normal, weights);
            return (statistic.MoveToOuterDisposeScope(), derivative.MoveToOuterDisposeScope());
        }

        var angle = x.mul(Scalars.Of(points[1]));
        var (cosine, sine) = (angle.cos(), angle.sin());
        var (c, s) = (cosine, sine);
        var terms = new (Tensor Real, Tensor Imaginary)[knots];
        for (var k = 1; k < knots; k++) // at 0 both functions are 1
        {
            terms[k] = (c.mean([-2L], keepdim: true).sub_(Scalars.Of(normal[k])), s.mean([-2L], keepdim: true)); // (…, 1, S)
            if (k < knots - 1)
            {
                (c, s) = Rotated(c, s, keep: k == 1);
            }
        }

        var value = zeros_like(terms[1].Real);
        var (real, imaginary) = (zeros_like(x), zeros_like(x));
        for (var k = knots - 1; k >= 1; k--)
        {
            var (difference, odd) = terms[k];
            value.addcmul_(difference, difference, Scalars.Of(weights[k])).addcmul_(odd, odd, Scalars.Of(weights[k]));
            var factor = 2 * weights[k] * points[k];
            (real, imaginary) = Rotated(real.add_(odd, Scalars.Of(factor)), imaginary.add_(difference, Scalars.Of(factor)), keep: false);
        }

        value = value.mul_(Scalars.Of(x.shape[^2])).squeeze(-2);
        return (value.MoveToOuterDisposeScope(), real.MoveToOuterDisposeScope());

        (Tensor, Tensor) Rotated(Tensor a, Tensor b, bool keep)
        {
            var rotated = (a.mul(cosine).addcmul_(b, sine, Scalars.Of(-1)), b.mul(cosine).addcmul_(a, sine, Scalars.Of(1)));
            if (!keep)
            {
                a.Dispose();
                b.Dispose();
            }

            return rotated;
        }
    }

    private static (double[] Points, double[] Normal, double[] Weights) Quadrature(int knots, double limit)
    {
        var step = limit / (knots - 1);
        var points = Enumerable.Range(0, knots).Select(k => k * step).ToArray();
        var normal = points.Select(t => Math.Exp(-0.5 * t * t)).ToArray();
        var weights = normal.Select((w, k) => w * (k == 0 || k == knots - 1 ? step : 2 * step)).ToArray();
        return (points, normal, weights);
    }
}

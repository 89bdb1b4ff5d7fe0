using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Soft assignment of images to prototypes that uses all prototypes equally (Sinkhorn and Knopp 1967; Caron et al. 2020, section 3.1):
/// exp(scores/ε), alternately normalised over images for each prototype and over prototypes for each image.
/// </summary>
public static class Sinkhorn
{
    // Rows that take no part sum to 0, and shall yield 0 and not 0/0: the smallest normal number.
    private static double SumFloor(ScalarType type) => Math.ScaleB(1, type == ScalarType.Float64 ? -1022 : -126);

    // What underflows is smaller than the smallest normal number; dividing by sums makes it larger by one over their product at
    // most. So with a product of this and above, no more than 2^-46 is lost with any entry of a row that sums to 1.
    private static double LeastProduct(ScalarType type) => Math.ScaleB(1, type switch { ScalarType.Float64 => 46 - 1022, ScalarType.Float16 => 0, _ => 46 - 126 });

    /// <summary>The assignment; its rows sum to 1 after one iteration or more.</summary>
    /// <remarks>
    /// The original divides prototypes' sums by K and images' sums by N on the way; lightly leaves out the former. Neither changes the result.
    /// Exponentials are taken as they are where none that counts can underflow; else logarithms are normalised, in double, so that ε may be as small as it likes.
    /// </remarks>
    /// <param name="scores">(N, K) float32 or float64: images times prototypes.</param>
    /// <param name="epsilon">ε &gt; 0: smaller is sharper.</param>
    /// <param name="iterations">0 or more; with 0, exp(scores/ε) scaled to a mean row sum of 1, as in the original.</param>
    /// <returns>(N, K) of the scores' type, detached.</returns>
    /// <exception cref="ArgumentException">Not (N, K), ε not positive, or a negative number of iterations.</exception>
    public static Tensor Codes(Tensor scores, double epsilon, int iterations) => Codes(scores, epsilon, iterations, null);

    /// <param name="scores">(N, K) floating point; rows that take no part are below all others.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="iterations">Of them.</param>
    /// <param name="absent">(N, 1) bool: rows that take no part, null for none. They become 0.</param>
    internal static Tensor Codes(Tensor scores, double epsilon, int iterations, Tensor? absent)
    {
        if (scores.shape is not [> 0 and var images, > 0])
        {
            throw new ArgumentException($"expected (N, K), received ({string.Join(", ", scores.shape)})", nameof(scores));
        }

        if (!(epsilon > 0) || !double.IsFinite(epsilon))
        {
            throw new ArgumentException($"ε must be positive; received {epsilon}.", nameof(epsilon));
        }

        if (iterations < 0)
        {
            throw new ArgumentException($"The number of iterations must be 0 or more; received {iterations}.", nameof(iterations));
        }

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var codes = scores.detach().sub(scores.max()).div_(Scalars.Of(epsilon)).exp_();
        if (iterations == 0)
        {
            codes.div_(codes.sum()).mul_(Scalars.Of(images));
        }

        var floor = SumFloor(codes.dtype);
        var product = ones(1, ScalarType.Float64, scores.device);
        for (var i = 0; i < iterations; i++)
        {
            var prototypes = codes.sum([0L], keepdim: true);
            codes.div_(prototypes.clamp(min: Scalars.Of(floor)));
            var rows = codes.sum([1L], keepdim: true);
            codes.div_(rows.clamp(min: Scalars.Of(floor)));
            product.mul_(prototypes.min().clamp_(max: Scalars.Of(1))).mul_((absent is null ? rows : rows.masked_fill(absent, Scalars.Of(1))).min().clamp_(max: Scalars.Of(1)));
        }

        // What is not a number takes the logarithms, and comes out of them as it went in.
        return (product.item<double>() >= LeastProduct(scores.dtype)
            ? codes
            : InLogarithms(scores.detach(), epsilon, iterations, absent)).MoveToOuterDisposeScope();
    }

    private static Tensor InLogarithms(Tensor scores, double epsilon, int iterations, Tensor? absent)
    {
        using var scope = NewDisposeScope();
        var logs = scores.to(ScalarType.Float64).div(Scalars.Of(epsilon));
        if (absent is not null)
        {
            logs.masked_fill_(absent, Scalars.Of(double.NegativeInfinity));
        }

        for (var i = 0; i < iterations; i++)
        {
            logs.sub_(logs.logsumexp(0, keepdim: true));
            var rows = logs.logsumexp(1, keepdim: true);
            logs.sub_(absent is null ? rows : rows.masked_fill_(absent, Scalars.Of(0)));
        }

        return logs.exp_().to(scores.dtype).MoveToOuterDisposeScope();
    }
}

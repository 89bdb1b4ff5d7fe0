using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Soft assignment of images to prototypes that uses all prototypes equally (Sinkhorn and Knopp 1967; Caron et al. 2020, section 3.1):
/// exp(scores/ε), alternately normalised over images for each prototype and over prototypes for each image.
/// </summary>
public static class Sinkhorn
{
    // What no sum may fall below: smallest normal float32, so that a prototype or image whose entries all underflow yields 0 and not 0/0.
    private const double SumFloor = 1.1754943508222875e-38;

    /// <summary>The assignment; its rows sum to 1 after one iteration or more.</summary>
    /// <remarks>
    /// The original divides prototypes' sums by K and images' sums by N on the way; lightly leaves out the former. Neither changes the result.
    /// Scores are cosines: what lies more than 87·ε under the largest score of the batch counts as 0 in float32.
    /// </remarks>
    /// <param name="scores">(N, K) float32 or float64: images times prototypes.</param>
    /// <param name="epsilon">ε &gt; 0: smaller is sharper.</param>
    /// <param name="iterations">0 or more; with 0, exp(scores/ε) scaled to a mean row sum of 1, as in the original.</param>
    /// <returns>(N, K) of the scores' type, detached.</returns>
    /// <exception cref="ArgumentException">Not (N, K), ε not positive, or a negative number of iterations.</exception>
    public static Tensor Codes(Tensor scores, double epsilon, int iterations)
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
        var codes = scores.detach().sub(scores.max()).div_(epsilon).exp_();
        if (iterations == 0)
        {
            codes.div_(codes.sum()).mul_(images);
        }

        for (var i = 0; i < iterations; i++)
        {
            codes.div_(codes.sum([0L], keepdim: true).clamp_(min: SumFloor));
            codes.div_(codes.sum([1L], keepdim: true).clamp_(min: SumFloor));
        }

        return codes.MoveToOuterDisposeScope();
    }
}

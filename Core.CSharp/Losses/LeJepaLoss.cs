using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// LeJEPA (Balestriero and LeCun 2025): (1−λ)·invariance + λ·<see cref="SigReg"/>. Invariance is the mean squared distance of every view's embedding
/// to the mean over the image's global views, which receives gradients too.
/// </summary>
public static class LeJepaLoss
{
    /// <summary>Loss of the views of N images.</summary>
    /// <param name="views">(V, N, d) float32 or float64: global views first, then local ones.</param>
    /// <param name="globals">How many of them are global, 1 … V.</param>
    /// <param name="directions">(d, S), columns of length 1.</param>
    /// <param name="lambda">λ, 0 … 1.</param>
    /// <param name="knots">Points of SIGReg's integral, 2 or more.</param>
    /// <param name="limit">End of SIGReg's integral, positive.</param>
    /// <returns>Scalar of the views' dtype with its graph; finite, and so is its gradient.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of range.</exception>
    public static Tensor Loss(Tensor views, int globals, Tensor directions, double lambda, int knots, double limit)
    {
        if (views.dim() != 3 || globals < 1 || globals > views.shape[0])
        {
            throw new ArgumentException($"expected (V, N, d) with {globals} global views of V, received ({string.Join(", ", views.shape)})", nameof(views));
        }

        if (lambda is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"λ is between 0 and 1; received {lambda}.", nameof(lambda));
        }

        using var scope = NewDisposeScope();
        var centre = views.narrow(0, 0, globals).mean([0L], keepdim: true); // (1, N, d)
        var invariance = views.sub(centre).square().mean();
        return invariance.mul(Scalars.Of(1 - lambda)).add(SigReg.Loss(views, directions, knots, limit), Scalars.Of(lambda)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The lowest value that two views which say nothing of each other can be expected to reach: normal embeddings, at the deviation that balances
    /// invariance (half the variance) against SIGReg.
    /// </summary>
    public static double Chance(int images, double lambda, int knots, double limit) =>
        Enumerable.Range(0, 201)
            .Select(i => i / 100.0)
            .Min(s => ((1 - lambda) * 0.5 * s * s) + (lambda * SigReg.Expected(images, s, knots, limit)));

    /// <summary>The lowest value that equal embeddings can have.</summary>
    public static double Collapsed(int images, double lambda, int knots, double limit) => lambda * SigReg.Collapsed(images, knots, limit);
}

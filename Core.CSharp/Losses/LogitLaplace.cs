using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Likelihood of pixels under the logit-Laplace distribution (Ramesh et al. 2021, appendix A.3): a Laplace distribution behind a sigmoid, so that all
/// its mass lies in the range of pixels. Density of x in (0, 1): exp(−|logit x − μ|/b) / (2·b·x·(1 − x)); pixels v from 0 to 1 are first moved
/// into (ε, 1 − ε) by x = (1 − 2ε)·v + ε, ε = 0.1.
/// </summary>
/// <remarks>ln b is held within ±7, where b is 0.001 to 1100: below, a flat image would be worth an infinite likelihood. The paper states no bound.</remarks>
public static class LogitLaplace
{
    /// <summary>ε.</summary>
    public const double Margin = 0.1;

    private const double LargestLogScale = 7;

    /// <summary>Mean of −ln f over all values.</summary>
    /// <param name="location">μ, any shape, float32 or float64.</param>
    /// <param name="logScale">ln b, the same shape.</param>
    /// <param name="pixels">v from 0 to 1, the same shape; finite values outside count as the nearest end; no gradient reaches it.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes that differ.</exception>
    public static Tensor Loss(Tensor location, Tensor logScale, Tensor pixels)
    {
        if (!Aten.Sizes(location).SequenceEqual(Aten.Sizes(logScale)) || !Aten.Sizes(location).SequenceEqual(Aten.Sizes(pixels)))
        {
            throw new ArgumentException(
                $"expected three tensors of one shape, received ({string.Join(", ", location.shape)}), ({string.Join(", ", logScale.shape)}) and ({string.Join(", ", pixels.shape)})",
                nameof(location));
        }

        using var scope = NewDisposeScope();
        Tensor logit, volume;
        using (no_grad())
        {
            var x = pixels.detach().clamp(Scalars.Of(0), Scalars.Of(1)).mul_(Scalars.Of(1 - (2 * Margin))).add_(Scalars.Of(Margin));
            var rest = x.neg().add_(Scalars.Of(1));
            volume = x.mul(rest).mul_(Scalars.Of(2)).log_(); // ln 2x(1 − x)
            logit = x.div(rest).log_();
        }

        var bounded = logScale.clamp(Scalars.Of(-LargestLogScale), Scalars.Of(LargestLogScale));
        var loss = logit.sub(location).abs().mul(bounded.neg().exp()).add(bounded).add(volume).mean();
        return NonFinite.Carried(NonFinite.Carried(loss, logScale), pixels).MoveToOuterDisposeScope();
    }

    /// <summary>The pixels that a location stands for: σ(μ) moved back from (ε, 1 − ε), held within 0 to 1.</summary>
    /// <param name="location">μ.</param>
    /// <returns>The same shape.</returns>
    public static Tensor Pixels(Tensor location)
    {
        using var scope = NewDisposeScope();
        return location.sigmoid().sub(Scalars.Of(Margin)).div(Scalars.Of(1 - (2 * Margin))).clamp(Scalars.Of(0), Scalars.Of(1)).MoveToOuterDisposeScope();
    }
}

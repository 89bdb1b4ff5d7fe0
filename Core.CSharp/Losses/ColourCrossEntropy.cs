using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Colour as classification (Zhang et al. 2016, eq. 2): cross entropy between soft-encoded bins and predicted ones, each pixel weighted by the
/// rarity of its nearest bin (eq. 4). The paper sums over pixels; here it is the weighted mean, Σ v·CE / Σ v, so that a uniform
/// prediction costs ln Q whatever the weights.
/// </summary>
public static class ColourCrossEntropy
{
    /// <summary>Loss of a batch of pixels.</summary>
    /// <param name="logits">(M, Q) float32 or float64.</param>
    /// <param name="bins">(M, K) int64: the K nearest bins of each pixel, nearest first.</param>
    /// <param name="shares">(M, K): their shares, rows sum to 1; no gradient reaches it.</param>
    /// <param name="rarity">(Q): weight of pixels whose nearest bin it is; null weights all alike.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes that do not fit each other; where <see cref="ColourKernel"/> serves, also a bin outside 0 … Q−1, elsewhere that is torch's own error.</exception>
    public static Tensor Loss(Tensor logits, Tensor bins, Tensor shares, Tensor? rarity)
    {
        if (logits.shape is not [var rows and > 0, var count and > 0] || bins.shape is not [var binRows, > 0] || binRows != rows
            || !bins.shape.AsSpan().SequenceEqual(shares.shape) || (rarity is not null && rarity.shape is not [var weights] | rarity.shape[0] != count))
        {
            throw new ArgumentException(
                $"expected (M, Q), two times (M, K) and (Q); received ({string.Join(", ", logits.shape)}), ({string.Join(", ", bins.shape)}), ({string.Join(", ", shares.shape)})"
                + (rarity is null ? "" : $" and ({string.Join(", ", rarity.shape)})"),
                nameof(logits));
        }

        using var scope = NewDisposeScope();
        if (ColourKernel.Serves(logits, bins, shares, rarity))
        {
            var (loss, gradient) = ColourKernel.Apply(logits, bins, shares, rarity);
            return CustomBackward.Loss(logits, loss, gradient).MoveToOuterDisposeScope();
        }

        var chosen = nn.functional.log_softmax(logits, 1).gather(1, bins); // (M, K)
        var entropy = chosen.mul(shares.detach()).sum([1L]).neg(); // (M)
        if (rarity is null)
        {
            return NonFinite.Carried(entropy.mean(), logits).MoveToOuterDisposeScope();
        }

        var weight = rarity.detach().index_select(0, bins.select(1, 0)); // (M)
        return NonFinite.Carried(entropy.mul(weight).sum().div(weight.sum()), logits).MoveToOuterDisposeScope();
    }

    /// <summary>Weights of the bins, eq. 4: w ∝ 1 / ((1−λ)·p + λ/Q), scaled so that Σ p·w = 1.</summary>
    /// <param name="prior">(Q): p, how often each bin occurs, smoothed; sums to 1.</param>
    /// <param name="uniformShare">λ, 0 to 1; 1 weights all bins alike. At 0 a bin that never occurred would weigh infinitely: above 0.</param>
    /// <exception cref="ArgumentException">λ out of range.</exception>
    public static Tensor Rarity(Tensor prior, double uniformShare)
    {
        if (!(uniformShare > 0 && uniformShare <= 1))
        {
            throw new ArgumentException($"The uniform share must be above 0 and at most 1; received {uniformShare}.", nameof(uniformShare));
        }

        using var scope = NewDisposeScope();
        var weight = prior.mul(Scalars.Of(1 - uniformShare)).add_(Scalars.Of(uniformShare / prior.shape[0])).reciprocal_();
        return weight.div(weight.dot(prior)).MoveToOuterDisposeScope();
    }

    /// <summary>ln Q: a prediction that holds all bins equally likely.</summary>
    public static double Chance(int bins) => Math.Log(bins);
}

using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// What SwAV and DINO share: the cross entropy between the target distribution of each of A crops and the prediction from each other crop.
/// </summary>
internal static class CrossViewEntropy
{
    /// <summary>Mean over the A·(V−1) pairs (a, v) with v ≠ a, and over images, of −Σₖ qₐ log softmax(s_v/τ).</summary>
    /// <param name="scores">(V·N, K) floating point: row v·N + i is crop v of image i.</param>
    /// <param name="targets">(A·N, K): distributions for the first A of these crops; no gradient reaches them.</param>
    /// <param name="crops">V ≥ 2.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>Scalar with its graph.</returns>
    public static Tensor Mean(Tensor scores, Tensor targets, int crops, double temperature)
    {
        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }

        if (crops < 2 || scores.shape is not [var rows, > 0 and var width] || rows < crops || rows % crops != 0)
        {
            throw new ArgumentException($"expected (V·N, K) with V = {crops} of at least 2 and N ≥ 1, received ({string.Join(", ", scores.shape)})", nameof(scores));
        }

        var images = rows / crops;
        if (targets.shape is not [var targetRows, var targetWidth] || targetWidth != width || targetRows < images || targetRows % images != 0 || targetRows > rows)
        {
            throw new ArgumentException($"expected (A·{images}, {width}) with 1 ≤ A ≤ {crops}, received ({string.Join(", ", targets.shape)})", nameof(targets));
        }

        using var scope = NewDisposeScope();
        var assigned = targetRows / images;
        var log = nn.functional.log_softmax(scores.mul(Scalars.Of(1 / temperature)), 1).view(crops, images, width); // (V, N, K)

        // Σ_{v≠a} qₐ·log p_v = qₐ·(Σ_v log p_v − log pₐ): one product for all pairs of a target.
        var others = log.sum([0L], keepdim: true).sub(log.narrow(0, 0, assigned)); // (A, N, K)
        return targets.detach().view(assigned, images, width).mul(others).sum().mul(Scalars.Of(-1.0 / (targetRows * (crops - 1)))).MoveToOuterDisposeScope();
    }
}

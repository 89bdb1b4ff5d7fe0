using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Kullback–Leibler divergence of categorical distributions from the uniform one, KL(q ‖ 1/K) = ln K − H(q): what a discrete autoencoder pays for
/// the information in a token (Ramesh et al. 2021, eq. 1 with a uniform prior). Mean over rows.
/// </summary>
public static class UniformDivergence
{
    /// <summary>The mean divergence.</summary>
    /// <param name="logits">(M, K) float32 or float64: q = softmax(logits).</param>
    /// <returns>Scalar with its graph, 0 for equal logits up to ln K for one-hot ones, in nats.</returns>
    /// <exception cref="ArgumentException">Not (M, K).</exception>
    public static Tensor Mean(Tensor logits)
    {
        if (Aten.Sizes(logits) is not [var rows and > 0, var width and > 0])
        {
            throw new ArgumentException($"expected (M, K), received ({string.Join(", ", logits.shape)})", nameof(logits));
        }

        using Scalar each = (1.0 / rows).ToScalar(), most = (Most((int)width)).ToScalar();
        using var scope = NewDisposeScope();
        var logs = nn.functional.log_softmax(logits, 1);
        return logs.exp().mul(logs).sum().mul(each).add(most).MoveToOuterDisposeScope();
    }

    /// <summary>ln K: the divergence of one-hot distributions.</summary>
    public static double Most(int width) => Math.Log(width);

    /// <summary>The weight at a step: half a cosine from 0 at step 0 to <paramref name="final"/> at the end of the warm-up, then constant.</summary>
    /// <param name="final">After the warm-up.</param>
    /// <param name="warmupSteps">Its steps; 0 for none.</param>
    /// <param name="step">From 0.</param>
    public static double Weight(double final, long warmupSteps, long step) =>
        step >= warmupSteps ? final : final * (1 - Math.Cos(Math.PI * step / warmupSteps)) / 2;
}

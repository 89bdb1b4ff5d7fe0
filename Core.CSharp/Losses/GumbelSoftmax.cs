using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// A differentiable draw from categorical distributions (Jang et al. 2017, eq. 2; Maddison et al. 2017): softmax((l + g)/τ) with Gumbel noise g.
/// Where the noise is largest decides, so the largest entry is an exact draw from softmax(l) at any τ; τ says how near the rest is to 0.
/// </summary>
public static class GumbelSoftmax
{
    // Half the spacing of torch's uniform float32 numbers, which lie on multiples of 2^-24 from 0 to 1 − 2^-24.
    private const double Least = 1.0 / (1 << 25);
    private const double Most = 1 - (1.0 / (1 << 24));

    /// <summary>Standard Gumbel noise −ln(−ln u) from torch's generator, which the trainer seeds at each step; from −2.9 to 16.7, never infinite.</summary>
    /// <param name="like">Shape, type and device; its values are not looked at.</param>
    /// <returns>The same shape, detached.</returns>
    public static Tensor Noise(Tensor like)
    {
        using var noGrad = no_grad();
        using Scalar least = Least.ToScalar(), most = Most.ToScalar();
        using var scope = NewDisposeScope();
        var noise = rand(Aten.Sizes(like).ToArray(), ScalarType.Float32, like.device).clamp_(least, most).log_().neg_().log_().neg_();
        return (like.dtype == ScalarType.Float32 ? noise : noise.to(like.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>The relaxed draw.</summary>
    /// <param name="logits">(M, K) float32 or float64: l, up to a constant for each row.</param>
    /// <param name="noise">(M, K): g; no gradient reaches it.</param>
    /// <param name="temperature">τ &gt; 0; towards 0 the draw becomes one-hot.</param>
    /// <returns>(M, K) of the logits' type with its graph; rows sum to 1.</returns>
    /// <exception cref="ArgumentException">Shapes that differ or are not (M, K), or τ not positive.</exception>
    public static Tensor Relax(Tensor logits, Tensor noise, double temperature)
    {
        if (Aten.Sizes(logits) is not [> 0, > 0] || !Aten.Sizes(logits).SequenceEqual(Aten.Sizes(noise)))
        {
            throw new ArgumentException(
                $"expected two times (M, K), received ({string.Join(", ", logits.shape)}) and ({string.Join(", ", noise.shape)})", nameof(logits));
        }

        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }

        using Scalar sharpness = (1 / temperature).ToScalar();
        using var scope = NewDisposeScope();
        return nn.functional.softmax(logits.add(noise.detach()).mul(sharpness), 1).MoveToOuterDisposeScope();
    }

    /// <summary>τ of a step: half a cosine from <paramref name="start"/> at step 0 to <paramref name="final"/> at the end of the decay, then constant.</summary>
    /// <param name="start">τ of the first step, if there is a decay.</param>
    /// <param name="final">τ after it.</param>
    /// <param name="decaySteps">Its steps; 0 for none.</param>
    /// <param name="step">From 0.</param>
    public static double Temperature(double start, double final, long decaySteps, long step) =>
        step >= decaySteps ? final : final + ((start - final) * (1 + Math.Cos(Math.PI * step / decaySteps)) / 2);
}

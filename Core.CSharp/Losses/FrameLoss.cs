using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// How far predicted frames are from the true ones: the mean over frames, channels and pixels of the squared or the absolute difference
/// (Srivastava et al. 2015, section 2.2; Mathieu et al. 2016, eq. 5 with p = 2 and 1). No chance level: it depends on how much the films move.
/// </summary>
public static class FrameLoss
{
    /// <summary>mean (p − x)².</summary>
    /// <param name="predicted">(…, C, H, W) float32 or float64: p.</param>
    /// <param name="truth">Same shape and dtype: x; no gradient reaches it.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are no frames.</exception>
    public static Tensor Squared(Tensor predicted, Tensor truth)
    {
        using var scope = NewDisposeScope();
        return Difference(predicted, truth).square().mean().MoveToOuterDisposeScope();
    }

    /// <summary>mean |p − x|; where both are equal its gradient is zero.</summary>
    /// <inheritdoc cref="Squared"/>
    public static Tensor Absolute(Tensor predicted, Tensor truth)
    {
        using var scope = NewDisposeScope();
        return Difference(predicted, truth).abs().mean().MoveToOuterDisposeScope();
    }

    private static Tensor Difference(Tensor predicted, Tensor truth)
    {
        if (predicted.dim() < 3 || predicted.numel() == 0 || !Aten.Sizes(predicted).SequenceEqual(Aten.Sizes(truth)))
        {
            throw new ArgumentException(
                $"expected two times (…, C, H, W), received ({string.Join(", ", predicted.shape)}) and ({string.Join(", ", truth.shape)})", nameof(predicted));
        }

        return predicted.sub(truth.detach());
    }
}

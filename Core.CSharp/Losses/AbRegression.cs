using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Colour as regression: the chroma is predicted as scale·tanh(y), and the loss is the mean squared error in units of the scale,
/// mean (tanh(y) − ab/scale)². Without the scale tanh could never reach an ab beyond ±1.
/// </summary>
public static class AbRegression
{
    /// <summary>Loss of a batch of pixels.</summary>
    /// <param name="prediction">(M, 2) float32 or float64: y, before tanh.</param>
    /// <param name="chroma">(M, 2), same dtype: a* and b*; no gradient reaches it.</param>
    /// <param name="scale">Largest |a*|, |b*| that can be predicted, above 0.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Other shapes, or a scale that is not positive.</exception>
    public static Tensor Loss(Tensor prediction, Tensor chroma, double scale)
    {
        if (prediction.shape is not [> 0, 2] || !prediction.shape.AsSpan().SequenceEqual(chroma.shape))
        {
            throw new ArgumentException(
                $"expected two times (M, 2), received ({string.Join(", ", prediction.shape)}) and ({string.Join(", ", chroma.shape)})", nameof(prediction));
        }

        if (!(scale > 0) || !double.IsFinite(scale))
        {
            throw new ArgumentException($"The scale must be positive; received {scale}.", nameof(scale));
        }

        using var scope = NewDisposeScope();
        return prediction.tanh().sub(chroma.detach().mul(1 / scale)).square().mean().MoveToOuterDisposeScope();
    }
}

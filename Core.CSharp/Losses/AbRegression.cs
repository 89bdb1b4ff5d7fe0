using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Colour as regression: the chroma is predicted as scale·tanh(y), and the loss is the mean squared error in a stated unit,
/// mean ((scale·tanh(y) − ab)/unit)². Without the scale tanh could never reach an ab beyond ±1; unit = scale compares tanh(y) with ab/scale.
/// </summary>
public static class AbRegression
{
    /// <summary>Loss of a batch of pixels.</summary>
    /// <param name="prediction">(M, 2) float32 or float64: y, before tanh.</param>
    /// <param name="chroma">(M, 2), same dtype: a* and b*; no gradient reaches it.</param>
    /// <param name="scale">Largest |a*|, |b*| that can be predicted, above 0.</param>
    /// <param name="unit">What counts as an error of 1, above 0.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Other shapes, or a scale or unit that is not positive.</exception>
    public static Tensor Loss(Tensor prediction, Tensor chroma, double scale, double unit)
    {
        if (prediction.shape is not [> 0, 2] || !prediction.shape.AsSpan().SequenceEqual(chroma.shape))
        {
            throw new ArgumentException(
                $"expected two times (M, 2), received ({string.Join(", ", prediction.shape)}) and ({string.Join(", ", chroma.shape)})", nameof(prediction));
        }

        if (!(scale > 0 && unit > 0) || !double.IsFinite(scale) || !double.IsFinite(unit))
        {
            throw new ArgumentException($"Scale and unit must be positive; received {scale} and {unit}.", nameof(scale));
        }

        using var scope = NewDisposeScope();
        var loss = prediction.tanh().mul(Scalars.Of(scale / unit)).sub(chroma.detach().mul(Scalars.Of(1 / unit))).square().mean();
        return NonFinite.Carried(loss, prediction).MoveToOuterDisposeScope();
    }
}

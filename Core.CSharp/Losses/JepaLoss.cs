using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>How far a predicted token is from its target.</summary>
public enum JepaDistance
{
    /// <summary>x²/2 up to |x| = 1, |x| − 1/2 beyond: the authors' code.</summary>
    SmoothL1,

    /// <summary>x²: the paper.</summary>
    Squared,
}

/// <summary>
/// I-JEPA's loss (Assran et al. 2023, section 3): the distance of predicted tokens to a target encoder's tokens. The paper sums squared differences over
/// the patches of a block and their features; here, as in the authors' code, the mean over everything is taken, and by choice a smooth L1 distance.
/// </summary>
public static class JepaLoss
{
    // torch's default for a layer normalisation, which the authors' code leaves as it is.
    private const double NormEpsilon = 1e-5;

    /// <summary>Mean distance over all tokens and features.</summary>
    /// <param name="predicted">(…, d) float32 or float64.</param>
    /// <param name="targets">The same shape; no gradient reaches it.</param>
    /// <param name="distance">Which distance.</param>
    /// <returns>Scalar of the prediction's type, with its graph; 0 where both are equal.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are empty, or an unknown distance.</exception>
    public static Tensor Loss(Tensor predicted, Tensor targets, JepaDistance distance)
    {
        if (predicted.dim() < 1 || predicted.numel() == 0 || !Aten.Sizes(predicted).SequenceEqual(Aten.Sizes(targets)))
        {
            throw new ArgumentException(
                $"expected two times (…, d), received ({string.Join(", ", predicted.shape)}) and ({string.Join(", ", targets.shape)})", nameof(targets));
        }

        using var constant = targets.detach();
        return distance switch
        {
            JepaDistance.SmoothL1 => nn.functional.smooth_l1_loss(predicted, constant),
            JepaDistance.Squared => nn.functional.mse_loss(predicted, constant),
            _ => throw new ArgumentException($"Unknown distance {distance}.", nameof(distance)),
        };
    }

    /// <summary>Target tokens with mean 0 and variance 1 over the features of each, without scale and shift: the authors' code. Constant tokens become 0.</summary>
    /// <param name="tokens">(…, d).</param>
    /// <returns>The same shape, detached.</returns>
    public static Tensor Normalised(Tensor tokens)
    {
        using var noGrad = no_grad();
        return nn.functional.layer_norm(tokens, [tokens.size(-1)], eps: NormEpsilon);
    }

    /// <summary>
    /// What a prediction of zeros costs, whatever the image: exactly 1 for squares of normalised targets; null otherwise, for it depends on how the
    /// features are distributed.
    /// </summary>
    /// <param name="distance">Which distance.</param>
    /// <param name="normalised">Whether targets are <see cref="Normalised"/>.</param>
    public static double? Chance(JepaDistance distance, bool normalised) => distance == JepaDistance.Squared && normalised ? 1 : null;
}

using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Agreement of paired vectors: the loss of BYOL (Grill et al. 2020, eq. 2) and of SimSiam (Chen and He 2021, eq. 1–4).
/// Whether gradients reach the targets is the caller's choice, by the names of the functions.
/// </summary>
public static class NegativeCosine
{
    /// <summary>Mean of −cos(aᵢ, bᵢ), with gradients to both.</summary>
    /// <param name="a">(N, d) float32 or float64, N ≥ 1, any length.</param>
    /// <param name="b">(N, d).</param>
    /// <returns>Scalar from −1 (same directions) over 0 (orthogonal) to 1, with its graph; finite gradient also for zero vectors.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d).</exception>
    public static Tensor Loss(Tensor a, Tensor b)
    {
        if (a.shape is not [> 0, > 0] || !a.shape.AsSpan().SequenceEqual(b.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, d), received ({string.Join(", ", a.shape)}) and ({string.Join(", ", b.shape)}): a prediction is as long as its target",
                nameof(b));
        }

        using var scope = NewDisposeScope();
        var unitA = UnitRows.Of(a);
        var unitB = UnitRows.Of(b);
        return unitA.mul(unitB).sum().mul(Scalars.Of(-1.0 / a.shape[0])).MoveToOuterDisposeScope();
    }

    /// <summary>Mean of −cos(predictionᵢ, targetᵢ), where targets are constants (stop-gradient).</summary>
    /// <param name="prediction">(N, d).</param>
    /// <param name="target">(N, d): receives no gradient.</param>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d).</exception>
    public static Tensor ToTarget(Tensor prediction, Tensor target)
    {
        using var constant = target.detach();
        return Loss(prediction, constant);
    }

    /// <summary>
    /// SimSiam's symmetric loss, (D(p₁, z₂) + D(p₂, z₁))/2 with D the mean negative cosine. It is lightly's form of BYOL's loss as well:
    /// a quarter of <see cref="SymmetricSquares"/>, less 1.
    /// </summary>
    /// <param name="p1">(N, d): prediction from the first views.</param>
    /// <param name="p2">(N, d): prediction from the second views.</param>
    /// <param name="z1">(N, d): target of p₂.</param>
    /// <param name="z2">(N, d): target of p₁.</param>
    /// <param name="stopGradient">Whether targets are constants.</param>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d).</exception>
    public static Tensor Symmetric(Tensor p1, Tensor p2, Tensor z1, Tensor z2, bool stopGradient = true)
    {
        using var first = stopGradient ? ToTarget(p1, z2) : Loss(p1, z2);
        using var second = stopGradient ? ToTarget(p2, z1) : Loss(p2, z1);
        using var sum = first.add(second);
        return sum.mul(Scalars.Of(0.5));
    }

    /// <summary>One direction of BYOL's loss: mean of ‖p̄ᵢ − z̄ᵢ‖² = 2 − 2·cos(pᵢ, zᵢ) over unit vectors p̄ and z̄; targets are constants.</summary>
    /// <param name="prediction">(N, d).</param>
    /// <param name="target">(N, d): receives no gradient.</param>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d).</exception>
    public static Tensor Squares(Tensor prediction, Tensor target)
    {
        using var negative = ToTarget(prediction, target);
        using var doubled = negative.mul(Scalars.Of(2));
        return doubled.add(Scalars.Of(2));
    }

    /// <summary>BYOL's loss as the paper states it: <see cref="Squares"/> of (p₁, z₂) plus that of (p₂, z₁); targets are constants.</summary>
    /// <param name="p1">(N, d): prediction from the first views.</param>
    /// <param name="p2">(N, d): prediction from the second views.</param>
    /// <param name="z1">(N, d): target of p₂.</param>
    /// <param name="z2">(N, d): target of p₁.</param>
    /// <returns>Scalar from 0 over 4 (orthogonal) to 8.</returns>
    /// <exception cref="ArgumentException">Shapes differ or are not (N, d).</exception>
    public static Tensor SymmetricSquares(Tensor p1, Tensor p2, Tensor z1, Tensor z2)
    {
        using var first = Squares(p1, z2);
        using var second = Squares(p2, z1);
        return first.add(second);
    }
}

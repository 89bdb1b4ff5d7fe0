using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>What the loss of hidden patches is averaged over, once each crop has its mean.</summary>
public enum PatchMean
{
    /// <summary>All large crops, those that hide nothing count 0: iBOT, DINOv2, lightly. So the value falls with the share of crops that hide patches.</summary>
    Crops,

    /// <summary>The large crops that hide patches: the chance level is ln K.</summary>
    MaskedCrops,
}

/// <summary>
/// Patch-level self-distillation (Zhou et al. 2022, section 3.1): the student, which does not see a patch, predicts the teacher's distribution for the same
/// patch of the same crop, <c>−Σₖ P_t(x)ₖ log P_s(x̂)ₖ</c>. First the mean over the hidden patches of a crop, so that a crop counts the same
/// however many it hides; then the mean over crops (<see cref="PatchMean"/>). Hidden patches are weighted, not picked: their number stays on the device.
/// </summary>
public static class IbotLoss
{
    // Scores of patches that take no part: so low that exp((score − best)/ε) is 0 for any ε, and finite, so that a batch of them alone is no 0/0.
    private const double Absent = -1e30;

    /// <summary>Loss of a batch.</summary>
    /// <param name="student">(B, P, K) float32 or float64 scores of the student's patches: B large crops, P patches of each, all or some.</param>
    /// <param name="targets">(B, P, K): the teacher's distributions for them; no gradient reaches them.</param>
    /// <param name="mask">(B, P) of the same type: 1 for hidden patches, 0 for those that take no part.</param>
    /// <param name="temperature">τ_s &gt; 0 of the student.</param>
    /// <param name="mean">What crops are averaged over.</param>
    /// <returns>Scalar with its graph; 0 where nothing is hidden.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ_s is not positive.</exception>
    public static Tensor Loss(Tensor student, Tensor targets, Tensor mask, double temperature, PatchMean mean)
    {
        Check(student, mask, nameof(student));
        if (!Aten.Sizes(targets).SequenceEqual(Aten.Sizes(student)))
        {
            throw new ArgumentException($"expected ({string.Join(", ", student.shape)}), received ({string.Join(", ", targets.shape)})", nameof(targets));
        }

        Positive(temperature, nameof(temperature));
        using Scalar sharpness = (1 / temperature).ToScalar();
        using var scope = NewDisposeScope();
        var entropy = nn.functional.log_softmax(student.mul(sharpness), 2).mul(targets.detach()).sum([2L]); // (B, P), negative
        return entropy.mul(Weights(mask, mean)).sum().neg().MoveToOuterDisposeScope();
    }

    /// <summary>t̄: mean of the teacher's scores, what <see cref="DinoLoss.MoveCentre"/> moves a centre towards.</summary>
    /// <param name="teacher">(B, P, K) scores.</param>
    /// <param name="mask">(B, P): over hidden patches alone (DINOv2, lightly); null over all (iBOT).</param>
    /// <returns>(1, K), detached; 0 where nothing is hidden.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor MeanScores(Tensor teacher, Tensor? mask)
    {
        Check(teacher, mask, nameof(teacher));
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var rows = teacher.detach().flatten(0, 1); // (B·P, K)
        return (mask is null
            ? rows.mean([0L], keepdim: true)
            : mask.reshape(1, -1).mm(rows).div_(mask.sum().clamp_(min: Scalars.Of(1)))).MoveToOuterDisposeScope();
    }

    /// <summary>The teacher's distributions for hidden patches, spread over all prototypes by <see cref="Sinkhorn"/> (DINOv2, section 4).</summary>
    /// <param name="teacher">(B, P, K) scores.</param>
    /// <param name="mask">(B, P): patches of 0 take no part; their rows are 0, or 1/K where nothing is hidden.</param>
    /// <param name="temperature">ε &gt; 0: the teacher's temperature.</param>
    /// <param name="iterations">At least 1.</param>
    /// <returns>(B, P, K), detached.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, ε not positive, or no iteration.</exception>
    public static Tensor Codes(Tensor teacher, Tensor mask, double temperature, int iterations)
    {
        Check(teacher, mask, nameof(teacher));
        if (iterations < 1)
        {
            throw new ArgumentException($"The number of iterations must be 1 or more; received {iterations}.", nameof(iterations));
        }

        using Scalar absent = Absent.ToScalar(), none = (0).ToScalar();
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var hidden = mask.reshape(-1, 1).eq(none); // (B·P, 1)
        var present = teacher.detach().flatten(0, 1).masked_fill(hidden, absent);
        return Sinkhorn.Codes(present, temperature, iterations, hidden).view_as(teacher).MoveToOuterDisposeScope();
    }

    /// <summary>ln K: what a hidden patch costs whose scores are equal for all prototypes, whatever the teacher says.</summary>
    public static double Chance(int prototypes) => Math.Log(prototypes);

    /// <summary>(B, P): each crop that hides patches gives them equal shares of 1, divided by the number of crops.</summary>
    private static Tensor Weights(Tensor mask, PatchMean mean)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var shares = mask.div(mask.sum([1L], keepdim: true).clamp_(min: Scalars.Of(1))); // rows sum to 1, or to 0
        var crops = mean == PatchMean.MaskedCrops ? shares.sum().clamp_(min: Scalars.Of(1)) : null;
        return (crops is null ? shares.div_(Scalars.Of(mask.size(0))) : shares.div_(crops)).MoveToOuterDisposeScope();
    }

    private static void Check(Tensor scores, Tensor? mask, string name)
    {
        if (Aten.Sizes(scores) is not [> 0 and var crops, > 0 and var patches, > 0])
        {
            throw new ArgumentException($"expected (B, P, K), received ({string.Join(", ", scores.shape)})", name);
        }

        if (mask is not null && (Aten.Sizes(mask) is not [var rows, var columns] || rows != crops || columns != patches))
        {
            throw new ArgumentException($"expected ({crops}, {patches}), received ({string.Join(", ", mask.shape)})", nameof(mask));
        }
    }

    private static void Positive(double temperature, string name)
    {
        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", name);
        }
    }
}

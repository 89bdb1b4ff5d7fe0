using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Self-distillation without labels (Caron et al. 2021, eq. 3): <c>−Σₖ P_t(x)ₖ log P_s(x′)ₖ</c> over all pairs of a large crop x that the teacher
/// sees and another crop x′ that the student sees, mean over pairs and images. Large crops come first; a crop is never paired with itself.
/// </summary>
public static class DinoLoss
{
    /// <summary>Crops of each image that the teacher sees.</summary>
    public const int TeacherCrops = 2;

    /// <summary>Loss of a batch.</summary>
    /// <param name="student">(V·N, K) float32 or float64 scores: row v·N + i is crop v of image i.</param>
    /// <param name="targets">(A·N, K): the teacher's distributions for the first A crops; no gradient reaches them.</param>
    /// <param name="crops">V ≥ 2.</param>
    /// <param name="temperature">τ_s &gt; 0 of the student.</param>
    /// <returns>Scalar of the scores' type, with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ_s is not positive.</exception>
    public static Tensor Loss(Tensor student, Tensor targets, int crops, double temperature) => CrossViewEntropy.Mean(student, targets, crops, temperature);

    /// <summary>The teacher's distributions: softmax((t − c)/τ_t), centred and sharpened.</summary>
    /// <param name="teacher">(M, K) scores.</param>
    /// <param name="centre">c (1, K); null leaves centring out.</param>
    /// <param name="temperature">τ_t &gt; 0.</param>
    /// <returns>(M, K), detached; rows sum to 1.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ_t is not positive.</exception>
    public static Tensor Targets(Tensor teacher, Tensor? centre, double temperature)
    {
        if (teacher.shape is not [> 0, > 0 and var width])
        {
            throw new ArgumentException($"expected (M, K), received ({string.Join(", ", teacher.shape)})", nameof(teacher));
        }

        if (centre is not null && (centre.shape is not [1, var centreWidth] || centreWidth != width))
        {
            throw new ArgumentException($"expected (1, {width}), received ({string.Join(", ", centre.shape)})", nameof(centre));
        }

        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var scores = centre is null ? teacher.detach() : teacher.detach().sub(centre);
        return nn.functional.softmax(scores.mul(Scalars.Of(1 / temperature)), 1).MoveToOuterDisposeScope();
    }

    /// <summary>Moves the centre, in place, after the loss that used it: c ← m·c + (1−m)·t̄ (eq. 4).</summary>
    /// <param name="centre">c (1, K).</param>
    /// <param name="mean">t̄ (1, K): mean of the teacher's scores over the batch, all its crops.</param>
    /// <param name="momentum">m, 0 … 1.</param>
    public static void MoveCentre(Tensor centre, Tensor mean, double momentum)
    {
        using var noGrad = no_grad();
        using var step = mean.mul(Scalars.Of(1 - momentum));
        centre.mul_(Scalars.Of(momentum)).add_(step);
    }

    /// <summary>τ_t of a step: linear from the first to the last step of the warm-up, both ends included, then constant.</summary>
    /// <param name="start">τ_t of the first step, if there is a warm-up.</param>
    /// <param name="final">τ_t at the end of the warm-up and after it.</param>
    /// <param name="warmupSteps">Steps of the warm-up; the original counts epochs.</param>
    /// <param name="step">From 0.</param>
    public static double TeacherTemperature(double start, double final, long warmupSteps, long step) =>
        step >= warmupSteps ? final : start + ((final - start) * step / Math.Max(1, warmupSteps - 1));

    /// <summary>ln K: exactly what a student costs whose scores are equal for all prototypes, whatever the teacher says.</summary>
    public static double Chance(int prototypes) => Math.Log(prototypes);
}

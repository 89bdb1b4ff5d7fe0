using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>A teacher whose parameters follow a student's: t ← m·t + (1−m)·s after each step.</summary>
/// <param name="Name">Prefix of the teacher's names in checkpoints.</param>
/// <param name="Student">A trained network.</param>
/// <param name="Teacher">Same architecture, without gradients.</param>
/// <param name="Momentum">m at a step.</param>
public sealed record MovingAverage(
    string Name,
    torch.nn.Module Student,
    torch.nn.Module Teacher,
    Func<StepContext, double> Momentum)
{
    /// <summary>
    /// Momentum that rises from <paramref name="start"/> at step s = 0 towards <paramref name="final"/> at T: final − (final−start)(cos(πs/T)+1)/2
    /// (BYOL; solo-learn's MomentumUpdater).
    /// </summary>
    public static double Rising(double start, double final, long step, long totalSteps) =>
        final - ((final - start) * (Math.Cos(Math.PI * step / Math.Max(1, totalSteps)) + 1) / 2);
}

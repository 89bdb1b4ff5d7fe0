namespace SslResearch.Core.Training;

/// <summary>What the loop tells while it runs.</summary>
/// <param name="Step">Finished steps.</param>
/// <param name="TotalSteps">Steps of the whole training.</param>
/// <param name="FirstStep">Steps that were finished when this process took the training up: 0, or those of the checkpoint it goes on from.</param>
/// <param name="Epoch">Epoch, from 1.</param>
/// <param name="Loss">Loss of that step.</param>
/// <param name="Rate">Learning rate of that step.</param>
/// <param name="Deviation">Mean over dimensions of the standard deviation of l2-normalised embeddings times √d: 1 when spread evenly, 0 at collapse.</param>
/// <param name="RankMe">Effective rank of the embeddings (Garrido et al. 2023, eq. 1).</param>
/// <param name="ImagesPerSecond">Since the last report.</param>
/// <param name="WaitFraction">Part of the time since the last report spent waiting for the loader.</param>
/// <param name="Left">Estimated time to the end.</param>
public sealed record StepReport(
    long Step,
    long TotalSteps,
    long FirstStep,
    int Epoch,
    double Loss,
    double Rate,
    double Deviation,
    double RankMe,
    double ImagesPerSecond,
    double WaitFraction,
    TimeSpan Left);

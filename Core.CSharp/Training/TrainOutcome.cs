using SslResearch.Core.Methods;

namespace SslResearch.Core.Training;

/// <summary>How a training ended.</summary>
public enum TrainEnd
{
    /// <summary>All steps done.</summary>
    Finished,

    /// <summary>Stopped on request with everything saved; a later call goes on.</summary>
    Interrupted,

    /// <summary>The loss was not finite at <see cref="TrainOutcome.Steps"/>; that step's inputs are saved for replay.</summary>
    Diverged,

    /// <summary>Found collapsed before its last step, and <see cref="TrainOptions.StopAtCollapse"/> was set.</summary>
    Collapsed,
}

/// <summary>What the run was worth, from loss levels and embedding diagnostics.</summary>
public enum Verdict
{
    /// <summary>Loss left its chance level and the embeddings are spread.</summary>
    Learned,

    /// <summary>Loss is still at its chance level.</summary>
    AtChance,

    /// <summary>Embeddings of all views are (nearly) equal.</summary>
    Collapsed,

    /// <summary>Embeddings differ, but along few of their dimensions.</summary>
    CollapsedDimensions,

    /// <summary>The teacher assigns every image alike, nearer to uniformly over all prototypes than to one.</summary>
    CollapsedUniform,

    /// <summary>The teacher assigns (nearly) all images to one prototype, or to few and all alike.</summary>
    CollapsedToOne,

    /// <summary>The loss was not finite.</summary>
    Diverged,

    /// <summary>Nothing was trained (0 epochs).</summary>
    Untrained,
}

/// <summary>Result of one training.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Verdict">What it was worth.</param>
/// <param name="Steps">Finished steps.</param>
/// <param name="Loss">Mean loss over the last tenth of the reports; NaN if there were none.</param>
/// <param name="Levels">Chance and collapsed values of the loss.</param>
/// <param name="Deviation">Last reported embedding deviation.</param>
/// <param name="RankMe">Last reported effective rank.</param>
/// <param name="Seconds">Wall time of the steps, all starts of the run added up.</param>
/// <param name="ImagesPerSecond">Images over <paramref name="Seconds"/>.</param>
/// <param name="PeakMemory">Largest resident set since the training began, in bytes.</param>
public sealed record TrainOutcome(
    TrainEnd End,
    Verdict Verdict,
    long Steps,
    double Loss,
    LossLevels? Levels,
    double Deviation,
    double RankMe,
    double Seconds,
    double ImagesPerSecond,
    long PeakMemory)
{
    /// <summary>Finished steps at the report from which on the training was collapsed to its end; null where it was not.</summary>
    public long? CollapsedSince { get; init; }

    /// <summary>Steps that the training would have had.</summary>
    public long Budget { get; init; }

    /// <summary>What a person should know besides: a corrupt checkpoint put aside, another thread count than before, where a divergence lies.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];
}

namespace SslResearch.Core.Training;

/// <summary>Everything the loop needs to know. Without defaults: those live in the experiment language.</summary>
/// <param name="Epochs">Passes over the data; 0 leaves the initial weights.</param>
/// <param name="BatchSize">Images in one step; an epoch's last partial batch is dropped.</param>
/// <param name="Optimiser">Update rule.</param>
/// <param name="PeakRate">Learning rate after warm-up, already scaled.</param>
/// <param name="WarmupFraction">Part of all steps that rises linearly to the peak; then cosine per step to <paramref name="FinalRate"/>.</param>
/// <param name="FinalRate">Learning rate at the end.</param>
/// <param name="ClipNorm">Largest norm of the whole gradient; null for no clipping.</param>
/// <param name="Seed">Seed of the run.</param>
/// <param name="Workers">Threads that render batches; makes no difference to any result.</param>
/// <param name="Device">cpu, cuda or cuda:n.</param>
/// <param name="CheckpointEvery">Steps between checkpoints.</param>
/// <param name="ReportEvery">Steps between diagnostics and lines of metrics.jsonl.</param>
/// <param name="Folder">Where checkpoints, metrics.jsonl and event files go; created if missing.</param>
public sealed record TrainOptions(
    int Epochs,
    int BatchSize,
    OptimiserOptions Optimiser,
    double PeakRate,
    double WarmupFraction,
    double FinalRate,
    double? ClipNorm,
    ulong Seed,
    int Workers,
    string Device,
    int CheckpointEvery,
    int ReportEvery,
    string Folder)
{
    /// <summary>Ends the training as soon as <see cref="Diagnostics"/> finds it collapsed, instead of spending the rest of its budget.</summary>
    public bool StopAtCollapse { get; init; }
}

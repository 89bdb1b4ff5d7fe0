namespace SslResearch

open System
open System.Threading
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open TorchSharp

/// Where a run trains: what may differ from machine to machine and changes no result (device and thread count change it
/// by rounding only, and are stored with it).
type TrainSite =
    {
        Train: ImageStore
        Seed: uint64
        /// cpu, cuda or cuda:n.
        Device: string
        /// Threads that render batches.
        Workers: int
        /// Steps between checkpoints.
        CheckpointEvery: int
        /// End the training once it is found collapsed.
        StopAtCollapse: bool
        /// Where checkpoints and metrics go; an interrupted training goes on from there.
        Folder: string
        Progress: IProgress<StepReport>
        Stop: CancellationToken
        /// The method of a run that this one builds on, trained with the same seed; the caller owns it.
        Trained: ITrainedRun -> IDisposable
    }

[<RequireQualifiedAccess>]
module TrainSite =
    /// How an optimisation goes at this site, as the engine takes it.
    let options (site: TrainSite) (train: Train) =
        TrainOptions(
            train.Epochs,
            train.BatchSize,
            Train.optimiserOptions train.Optimiser,
            Train.peakRate train,
            train.WarmupFraction,
            train.FinalRate,
            Option.toNullable train.ClipNorm,
            site.Seed,
            site.Workers,
            site.Device,
            site.CheckpointEvery,
            Train.reportEvery site.Train.Count train,
            site.Folder,
            StopAtCollapse = site.StopAtCollapse
        )

/// What a run's training leaves for evaluation.
type TrainedEncoder =
    {
        /// None stands for the pixels themselves.
        Backbone: Backbone option
        Projector: torch.nn.Module<torch.Tensor, torch.Tensor> option
        /// None where nothing is trained.
        Outcome: TrainOutcome option
        /// What it predicts for the first images of a split that is like the one it was trained on; None where a method has nothing to show.
        Picture: (ImageStore -> MethodPicture) option
        /// The method's own figures on such a split, by name.
        Measure: (ImageStore -> (string * float) list) option
        Owner: IDisposable
    }

    interface IDisposable with
        member e.Dispose() = e.Owner.Dispose()

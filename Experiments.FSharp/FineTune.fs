namespace SslResearch

open System
open System.Threading
open SslResearch.Core.Evaluation
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open SslResearch.Core.Views
open TorchSharp

/// Where a fine-tuning trains: nothing here changes its result.
type FineTuneSite =
    {
        Data: OpenData
        Normalisation: Normalisation
        Seed: uint64
        Device: string
        Workers: int
        CheckpointEvery: int
        /// Where its checkpoints go; an interrupted one goes on from there.
        Folder: string
        Stop: CancellationToken
    }

/// The protocol that trains the whole encoder on labels.
[<RequireQualifiedAccess>]
module FineTune =
    /// Images in one pass over the test split.
    let private evaluationBatch = 500

    let private options (train: Train) (site: FineTuneSite) =
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
            Train.reportEvery site.Data.Train.Count train,
            site.Folder
        )

    /// Accuracy on the test split in percent, NaN where the fine-tuning diverged, and its final loss. The encoder itself stays as it is.
    let accuracy (encoder: Backbone) (o: FineTuneOptions) (site: FineTuneSite) : float * float =
        let images = site.Data.Train
        let device = SslResearch.Core.Runtime.TorchRuntime.Device site.Device
        use method = new Supervised(encoder.Twin(), images.ClassNames.Count)
        method.Initialise site.Seed
        WeightCopy.Into(encoder, method.Encoder)

        let outcome =
            Trainer.Train<LabelledView>(
                method,
                images,
                (labelled o.Augment).Build(images.Shape, site.Normalisation),
                options o.Train site,
                { new IProgress<StepReport> with
                    member _.Report _ = ()
                },
                site.Stop
            )

        match outcome.End with
        | TrainEnd.Interrupted -> raise (OperationCanceledException())
        | TrainEnd.Diverged -> nan, nan
        | _ ->
            method.Encoder.``to`` device |> ignore
            method.Classifier.``to`` device |> ignore

            use scores =
                FeatureExtractor.Extract(
                    method.Encoder,
                    Backbone.Output,
                    method.Classifier,
                    site.Data.Test,
                    Augmentation.channels site.Normalisation,
                    evaluationBatch,
                    device,
                    site.Stop
                )

            ClassScores.Accuracy scores, outcome.Loss

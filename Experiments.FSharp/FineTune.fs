namespace SslResearch

open System
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open SslResearch.Core.Views
open TorchSharp

/// The protocol that trains the whole encoder on labels.
[<RequireQualifiedAccess>]
module FineTune =
    /// Images in one pass over the test split.
    let private evaluationBatch = 500

    /// Accuracy on the test split in percent, NaN where the fine-tuning diverged, and its final loss. The encoder itself stays as it is.
    let accuracy
        (encoder: Backbone)
        (o: FineTuneOptions)
        (normalisation: Normalisation)
        (test: ImageStore)
        (site: TrainSite)
        : float * float =
        let images = site.Train
        let device = SslResearch.Core.Runtime.TorchRuntime.Device site.Device
        use method = new Supervised(encoder.Twin(), images.ClassNames.Count)
        method.Initialise site.Seed
        WeightCopy.Into(encoder, method.Encoder)

        let outcome =
            Trainer.Train<LabelledView>(
                method,
                images,
                (labelled o.Augment).Build(images.Shape, normalisation),
                TrainSite.options site o.Train,
                site.Progress,
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
                    test,
                    Augmentation.channels normalisation,
                    evaluationBatch,
                    device,
                    site.Stop
                )

            ClassScores.Accuracy scores, outcome.Loss

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

    /// Takes one batch through the encoder with its classifier, and the first test images: fails where fine-tuning would.
    let rehearse
        (encoder: Backbone)
        (o: FineTuneOptions)
        (normalisation: Normalisation)
        (images: ImageStore)
        (test: ImageStore)
        (device: torch.Device)
        : unit =
        if o.Train.BatchSize > images.Count then
            invalidArg "o" $"{o.Train.BatchSize} images a batch, but only {images.Count} in the training split"

        use method = new Supervised(encoder.Twin(), images.ClassNames.Count)
        method.Initialise 0UL

        for struct (_, network) in (method :> ISslMethod<LabelledView>).Trained do
            network.``to`` device |> ignore

        let augmenter = (labelled o.Augment).Build(images.Shape, normalisation)

        use loader =
            new Loader<LabelledView>(images, augmenter, LoaderOptions(o.Train.BatchSize, 0UL, 1, 1, true), device, 0L)

        use _scope = torch.NewDisposeScope()
        let context = StepContext(0UL, 0L, 1L, 0)
        method.Forward(loader.Next().Views, &context) |> ignore
        use first = test.Part(System.ReadOnlySpan [| 0 |], test.Split)

        use features =
            FeatureExtractor.Extract(
                method.Encoder,
                Backbone.Output,
                method.Classifier,
                first,
                Augmentation.channels normalisation,
                1,
                device,
                System.Threading.CancellationToken.None
            )

        ignore features

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

namespace SslResearch

open System
open System.Collections.Generic
open System.IO
open System.Threading
open SslResearch.Core.Evaluation
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open SslResearch.Core.Training

/// Where and how a run is evaluated: nothing here changes a score but by rounding.
type EvaluationSite =
    {
        /// cpu, cuda or cuda:n.
        Device: string
        Workers: int
        CheckpointEvery: int
        /// For what a protocol that trains leaves behind.
        Folder: string
        /// Told when a part of the evaluation begins.
        Scoring: string -> unit
    }

/// Scores of a trained encoder.
[<RequireQualifiedAccess>]
module Evaluate =
    /// Images in one pass of feature extraction.
    let private evaluationBatch = 500

    let private score (train: FeatureBank) (test: FeatureBank) (seed: uint64) stop protocol : Score =
        let of' value details =
            {
                Protocol = Protocol.name protocol
                Value = value
                Details = details
            }

        match Protocol.scoring protocol with
        | Knn(k, temperature) -> of' (KnnClassifier.Accuracy(train, test, k, Nullable temperature)) []
        | KnnVote k -> of' (KnnClassifier.Accuracy(train, test, k, Nullable())) []
        | Probe o ->
            let result =
                LinearProbe.Evaluate(
                    train,
                    test,
                    LinearProbeOptions(o.Epochs, List.toArray o.L2Grid, o.HeldOut, seed),
                    stop
                )

            of' result.Accuracy [ "l2", result.L2; "held_out_accuracy", result.HeldOutAccuracy ]
        | Logistic o ->
            let result = LogisticProbe.Evaluate(train, test, LogisticProbeOptions(o.HeldOut, seed), stop)

            of'
                result.Accuracy
                [
                    "l2", result.L2
                    "held_out_accuracy", result.HeldOutAccuracy
                    "converged", (if result.Converged then 1. else 0.)
                    "gradient_norm", result.GradientNorm
                    "iterations", float result.Iterations
                ]
        | Tuned _ -> invalidOp "fine-tuning scores no frozen features"
        | At _ -> invalidOp "a scoring has no layer"

    let private tuned protocol =
        match Protocol.scoring protocol with
        | Tuned o -> Some o
        | _ -> None

    /// Scores of all protocols that serve the run, in their order, those left out whose value is not finite; and those that could not be
    /// scored, each with its reason. What is known already is not scored again. Features are extracted once for each layer and shared by its protocols.
    let scores
        (run: Run)
        (data: OpenData)
        (encoder: TrainedEncoder)
        seed
        (site: EvaluationSite)
        (known: Score list)
        (stop: CancellationToken)
        : Score list * (string * string) list =
        let device = TorchRuntime.Device site.Device
        let normalisation = Data.normalisation data.Train run.Setting.Data
        let protocols = Run.protocols run

        // Fine-tuned on other images is another training.
        let content =
            if Data.isRendered run.Setting.Data then
                ""
            else
                "-" + data.Train.Fingerprint.Substring(0, 8)

        let found = Dictionary<Protocol, Score>()
        let failures = Dictionary<Protocol, string>()

        for protocol in protocols do
            known
            |> List.tryFind (fun score -> score.Protocol = Protocol.name protocol)
            |> Option.iter (fun score -> found[protocol] <- score)

        let open' = protocols |> List.filter (found.ContainsKey >> not)
        let frozen = open' |> List.filter (fun p -> (tuned p).IsNone)

        /// One that fails keeps no other from being scored.
        let attempt (concerned: Protocol list) (work: unit -> unit) =
            try
                work ()
            with
            | :? OperationCanceledException -> reraise ()
            | error ->
                for protocol in concerned do
                    failures[protocol] <- error.GetBaseException().Message

        for layer, sharing in frozen |> List.groupBy Protocol.layer do
            let projector, source =
                if layer = Protocol.Projection then
                    Option.toObj encoder.Projector, Backbone.Output
                else
                    null, layer

            let features store =
                FeatureExtractor.Extract(
                    Option.toObj encoder.Backbone,
                    source,
                    projector,
                    store,
                    Augmentation.channels normalisation,
                    evaluationBatch,
                    device,
                    stop
                )

            site.Scoring $"features of {layer}"

            attempt sharing (fun () ->
                use train = features data.Train
                use test = features data.Test

                for protocol in sharing do
                    stop.ThrowIfCancellationRequested()
                    site.Scoring(Protocol.name protocol)
                    attempt [ protocol ] (fun () -> found[protocol] <- score train test seed stop protocol))

        for protocol in open' do
            match tuned protocol, encoder.Backbone with
            | Some o, Some backbone ->
                let name = Protocol.name protocol
                site.Scoring name

                attempt [ protocol ] (fun () ->
                    let accuracy, loss =
                        FineTune.accuracy
                            backbone
                            o
                            normalisation
                            data.Test
                            {
                                Train = data.Train
                                Seed = seed
                                Device = site.Device
                                Workers = site.Workers
                                CheckpointEvery = site.CheckpointEvery
                                StopAtCollapse = false
                                Folder =
                                    Path.Combine(
                                        site.Folder,
                                        $"tuned-{Canonical.hash (Canonical.text name (box o))}{content}"
                                    )
                                Progress =
                                    { new IProgress<StepReport> with
                                        member _.Report _ = ()
                                    }
                                Stop = stop
                                Trained = fun run -> invalidOp $"fine-tuning builds on no run, such as '{run.Title}'"
                            }

                    found[protocol] <-
                        {
                            Protocol = name
                            Value = accuracy
                            Details = [ "loss", loss ]
                        })
            | _ -> ()

        [
            for protocol in protocols do
                match found.TryGetValue protocol with
                | true, score when Double.IsFinite score.Value -> score
                | _ -> ()
        ],
        [
            for protocol in protocols do
                match failures.TryGetValue protocol with
                | true, why -> Protocol.name protocol, why
                | _ -> ()
        ]

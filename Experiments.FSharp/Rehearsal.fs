namespace SslResearch

open System
open System.Collections.Generic
open System.Threading
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open TorchSharp

/// What neither types nor values show: each run is built on its images, takes one batch, and the first images of both splits go through
/// everything that scores it, before the first step of the first run.
[<RequireQualifiedAccess>]
module Rehearsal =
    /// Images of each split that are scored.
    let private few = 2

    /// A message without the parameter's name that .NET adds.
    let private words (error: exn) =
        let text = error.GetBaseException().Message.Split('\n')[0]

        match text.LastIndexOf(" (Parameter", StringComparison.Ordinal) with
        | -1 -> text.TrimEnd '.'
        | at -> text.Substring(0, at).TrimEnd '.'

    let private attempt owner where mend (work: unit -> unit) =
        try
            work ()
            []
        with
        | :? OperationCanceledException -> reraise ()
        | error -> [ owner, Problem.make where (words error) mend ]

    let private scoring (run: Run) (data: OpenData) (encoder: TrainedEncoder) device =
        let normalisation = Data.normalisation data.Train run.Setting.Data

        let part (store: ImageStore) =
            store.Part(ReadOnlySpan [| 0 .. min few store.Count - 1 |], store.Split)

        use train = part data.Train
        use test = part data.Test

        [
            for i, protocol in List.indexed (Run.protocols run) do
                let where = $"Setting.Protocols[{i}] {Protocol.name protocol}"

                match Protocol.scoring protocol, encoder.Backbone with
                | Tuned o, Some backbone ->
                    yield!
                        attempt run.Title where "Change the protocol, or sizes, until it can be scored" (fun () ->
                            FineTune.rehearse backbone o normalisation data.Train data.Test device)
                | Tuned _, None -> ()
                | _ ->
                    let layer = Protocol.layer protocol
                    let ofHead = layer = Protocol.Projection

                    let projector, source =
                        if ofHead then
                            Option.toObj encoder.Projector, Backbone.Output
                        else
                            null, layer

                    yield!
                        attempt
                            run.Title
                            where
                            "Change the encoder, or the size that the data was imported with (--resize)"
                            (fun () ->
                                for store in [ train; test ] do
                                    use features =
                                        FeatureExtractor.Extract(
                                            Option.toObj encoder.Backbone,
                                            source,
                                            projector,
                                            store,
                                            Augmentation.channels normalisation,
                                            few,
                                            device,
                                            CancellationToken.None
                                        )

                                    ignore features)
        ]

    /// Problems of runs whose data is there, each told once.
    let problems (dataRoot: string) (deviceName: string) (runs: Run list) : Problem list =
        let device = TorchRuntime.Device deviceName
        let opened = Dictionary<Data, OpenData>()

        let dataOf data =
            match opened.TryGetValue data with
            | true, splits -> splits
            | _ ->
                let splits = Datasets.openSplits dataRoot data
                opened[data] <- splits
                splits

        try
            [
                for run in runs do
                    use _scope = torch.NewDisposeScope()
                    let mutable found = []

                    found <-
                        attempt run.Title "Method" "Change settings or sizes until one batch can be taken" (fun () ->
                            use encoder = run.Rehearse((dataOf run.TrainData).Train, device)
                            encoder.Backbone |> Option.iter (fun b -> b.``to`` device |> ignore)
                            found <- scoring run (dataOf run.Setting.Data) encoder device)
                        @ found

                    yield! found
            ]
            |> Problem.gathered
        finally
            for splits in opened.Values do
                (splits :> IDisposable).Dispose()

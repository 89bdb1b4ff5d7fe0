/// A training whose loss stops being finite ends the same way whatever stopped it before.
module Tests.Core.TrainingDivergedTests

open System
open System.Collections.Generic
open System.IO
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Training
open SslResearch.Core.Views
open TorchSharp
open Tests.Support

let private experiment: Experiment<TwoViews> =
    MethodKit.tiny "diverged" (twoViews MethodKit.view) SimClr.CpuCifar

let private images = lazy (Datasets.openSplits (DataRoot.Resolve null) experiment.Setting.Data).Train

let private build () =
    let method =
        experiment.Method.Build
            {
                Image = images.Value.Shape
                Classes = images.Value.ClassNames.Count
                Normalisation = Data.normalisation images.Value experiment.Setting.Data
                Encoder = experiment.Setting.Backbone.Build images.Value.Shape.Channels
                Seed = 1UL
                Device = torch.CPU
                BatchSize = experiment.Setting.Train.BatchSize
                Trained = fun _ -> invalidOp "it builds on no other run"
            }

    method.Initialise 1UL
    method

/// A method whose loss is multiplied by what a step says: not a number makes it diverge there, an exception is a kill.
type private Poisoned(inner: ISslMethod<TwoViews>, factor: int64 -> float32) =
    interface ISslMethod<TwoViews> with
        member _.Encoder = inner.Encoder
        member _.Projector = inner.Projector
        member _.Trained = inner.Trained
        member _.Teachers = inner.Teachers
        member _.HeldRate = inner.HeldRate
        member _.State = inner.State
        member _.Levels batch = inner.Levels batch

        member _.Forward(views, context) =
            let factor = factor context.Step
            let output = inner.Forward(views, &context)
            StepOutput(output.Loss.mul (factor.ToScalar()), output.Embedding)

        member _.AfterUpdate context = inner.AfterUpdate &context
        member _.Dispose() = inner.Dispose()

/// 24 steps, reports every 6, checkpoints every 4.
let private options folder =
    let train = experiment.Setting.Train

    TrainOptions(
        train.Epochs,
        train.BatchSize,
        Train.optimiserOptions train.Optimiser,
        Train.peakRate train,
        train.WarmupFraction,
        train.FinalRate,
        Option.toNullable train.ClipNorm,
        1UL,
        1,
        "cpu",
        4,
        6,
        folder
    )

type private Cut =
    | Stopped of int64
    | Killed of int64

exception private Kill

/// One start: the outcome and the weights it leaves.
let private start folder (bad: int64) (factor: float32) (cut: Cut option) =
    use stop = new CancellationTokenSource()

    // A stop takes effect before the next step.
    match cut with
    | Some(Stopped 0L) -> stop.Cancel()
    | _ -> ()

    let at step =
        match cut with
        | Some(Killed k) when k = step -> raise Kill
        | Some(Stopped k) when k - 1L = step -> stop.Cancel()
        | _ -> ()

        if step = bad then factor else 1f

    use method = new Poisoned(build (), at) :> ISslMethod<TwoViews>

    let outcome =
        Trainer.Train(
            method,
            images.Value,
            experiment.Augment.Build(images.Value.Shape, Data.normalisation images.Value experiment.Setting.Data),
            options folder,
            null,
            stop.Token
        )

    outcome,
    [
        for struct (_, network) in method.Trained do
            for _, p in Networks.parameters network do
                use dense = p.detach().contiguous()
                dense.bytes.ToArray()
    ]

let private inFolder work =
    let root = Directory.CreateTempSubdirectory "sslr-diverged-"

    try
        work root.FullName
    finally
        root.Delete true

/// Everything of an end but its time: a second start of the same run must not tell it apart.
let private essence (folder: string) (outcome: TrainOutcome, weights: byte[] list) =
    [
        string outcome.End
        string outcome.Verdict
        string outcome.Steps
        string outcome.Budget
        outcome.Loss.ToString("R", Globalization.CultureInfo.InvariantCulture)
        outcome.Deviation.ToString("R", Globalization.CultureInfo.InvariantCulture)
        outcome.RankMe.ToString("R", Globalization.CultureInfo.InvariantCulture)
        string outcome.CollapsedSince
        (Seq.last outcome.Notes).Replace(folder, "FOLDER")
        File.ReadAllText(Path.Combine(folder, "metrics.jsonl"))
        for path in Directory.GetFiles(folder, "diverged-*") do
            use file = SafetensorsFile.Open path
            $"{Path.GetFileName path} {file.DataHash()}"
        for bytes in weights do
            Convert.ToHexString(Security.Cryptography.SHA256.HashData bytes)
    ]

let private ends bad factor (cuts: Cut list) =
    let mutable result = []

    inFolder (fun folder ->
        for cut in cuts do
            match cut with
            | Killed _ -> Expect.throwsT<Kill> (fun () -> start folder bad factor (Some cut) |> ignore) "killed"
            | Stopped k ->
                let outcome, _ = start folder bad factor (Some cut)
                Expect.equal (outcome.End, outcome.Steps) (TrainEnd.Interrupted, k) "stopped"

        let first = start folder bad factor None
        Expect.equal (fst first).End TrainEnd.Diverged "diverged"
        result <- essence folder first
        Expect.equal (essence folder (start folder bad factor None)) result "started again after its end")

    result

[<Tests>]
let tests =
    testList
        "diverged training"
        [
            for bad, when' in
                [
                    0L, "at the first step"
                    2L, "before the first checkpoint and report"
                    5L, "at the step of the first report"
                    7L, "at the step of a checkpoint"
                    13L, "between reports"
                    23L, "at the last step"
                ] do
                test $"{when'}, it ends the same however often it was stopped or killed before" {
                    let whole = ends bad nanf []
                    Expect.stringContains (String.concat "\n" whole) $"step {bad} (from 0)" "a note of the step"

                    for k in [ 0L; 1L; bad / 2L; bad - 1L; bad ] |> List.distinct do
                        if k >= 0L && k <= bad then
                            Expect.equal (ends bad nanf [ Stopped k ]) whole $"stopped after {k}"

                        if k >= 0L && k < bad then
                            Expect.equal (ends bad nanf [ Killed k ]) whole $"killed in step {k}"

                    Expect.equal
                        (ends bad nanf [ for k in 0L .. 3L .. bad -> Stopped k ])
                        whole
                        "stopped again and again"
                }

            test "an infinite loss is like one that is not a number" {
                Expect.equal (ends 5L infinityf [ Stopped 2L ]) (ends 5L nanf []) "the same end"
            }
        ]

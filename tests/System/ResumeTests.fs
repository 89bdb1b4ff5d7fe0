module Tests.Framework.ResumeTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Runtime
open SslResearch.Core.Training
open Tests.Support

/// A folder that is gone afterwards, and the arguments of a run that stores there.
let private inFolder work =
    let root = Directory.CreateTempSubdirectory "sslr-resume-"

    try
        work root.FullName
    finally
        root.Delete true

let private arguments results extra =
    [ "run"; "tiny"; "--results"; results; "--checkpoint-every"; "7" ] @ extra

type private Result =
    {
        Weights: string
        Metrics: string
        Scores: (string * float) list
        Starts: int
    }

/// Hash of all tensors of the last checkpoint, bytes of the metrics, scores.
let private result results =
    let run = (Store(results, "tiny")).Load().Runs |> List.exactlyOne
    let folder = Directory.GetDirectories(Path.Combine(results, "work")) |> Array.exactlyOne
    let checkpoint = Directory.GetFiles(folder, "step-*.safetensors") |> Array.max
    use file = SafetensorsFile.Open checkpoint

    {
        Weights = file.DataHash()
        Metrics = File.ReadAllText(Path.Combine(folder, "metrics.jsonl"))
        Scores = run.Scores |> List.map (fun s -> s.Protocol, s.Value)
        Starts = run.Provenance.Starts
    }

/// Step of the newest checkpoint; 0 where there is none.
let private newestStep results =
    if Directory.Exists results then
        Directory.GetFiles(results, "step-*.safetensors", SearchOption.AllDirectories)
        |> Array.map (fun f -> int64 (Path.GetFileNameWithoutExtension(f).Substring 5))
        |> Array.fold max 0L
    else
        0L

let private complete results extra =
    let code, output = TinyRecipe.finish (TinyRecipe.start (arguments results extra))
    Expect.equal code 0 output
    result results

[<Tests>]
let tests =
    testList
        "resume"
        [
            test "killed at random points, ends bit-identical to the run that was not; so with other worker counts" {
                inFolder (fun root ->
                    let folder name = Path.Combine(root, name)
                    let whole = complete (folder "whole") [ "--workers"; "1" ]
                    Expect.isGreaterThan (whole.Metrics.Split('\n').Length) 3 "metrics were written"

                    let workers = complete (folder "workers") [ "--workers"; "3" ]
                    Expect.equal workers whole "another number of loader workers"

                    // Each start is killed a random moment after a random checkpoint; the first before there is any.
                    let mutable draws = Philox(20UL, RandomPurpose.Evaluation)
                    let killed = folder "killed"
                    let targets = 0L :: List.sort [ for _ in 1..4 -> 7L + int64 (draws.NextBelow 90u) ]

                    for target in targets do
                        use child = TinyRecipe.start (arguments killed [ "--workers"; "2" ])
                        let ended = Tasks.Task.Run(fun () -> TinyRecipe.finish child)

                        while newestStep killed < target && not ended.IsCompleted do
                            Thread.Sleep 1

                        Thread.Sleep(int (draws.NextBelow(if target = 0L then 400u else 40u)))
                        Expect.isFalse ended.IsCompleted $"still running at step {target}"
                        child.Kill()
                        Expect.notEqual (fst ended.Result) 0 "killed"

                    let resumed = complete killed [ "--workers"; "2" ]
                    let kills = targets.Length
                    // The first kill may come before the process counts itself.
                    Expect.isTrue
                        (resumed.Starts = kills + 1 || resumed.Starts = kills)
                        $"{resumed.Starts} starts are recorded"

                    Expect.equal { resumed with Starts = 1 } whole $"after {kills} kills")
            }

            test "every method, killed at random points, ends as if it was not" {
                inFolder (fun root ->
                    // Those that methods build on are among them.
                    let trainings = dict [ for run in Recipe.runs (MethodKit.recipe ()) -> run.Id, run.TrainId ]

                    let arguments name =
                        [
                            "run"
                            "tiny-methods"
                            "--results"
                            Path.Combine(root, name)
                            "--checkpoint-every"
                            "4"
                        ]

                    let results name =
                        let store = Store(Path.Combine(root, name), "tiny-methods")

                        [
                            for run in store.Load().Runs |> List.sortBy _.RunId do
                                let work = store.WorkFolder(trainings[run.RunId], 0)

                                use file =
                                    SafetensorsFile.Open(Directory.GetFiles(work, "step-*.safetensors") |> Array.max)

                                run.Name,
                                file.DataHash(),
                                File.ReadAllText(Path.Combine(work, "metrics.jsonl")),
                                run.Scores |> List.map _.Value
                        ]

                    let code, output = TinyRecipe.finish (TinyRecipe.start (arguments "whole"))
                    Expect.equal code 0 output
                    let whole = results "whole"
                    Expect.equal whole.Length trainings.Count "all were trained"

                    let stored = Store(Path.Combine(root, "whole"), "tiny-methods").Load().Runs

                    for run in Recipe.runs (MethodKit.recipe ()) do
                        let record = stored |> List.find (fun r -> r.RunId = run.Id)

                        Expect.equal
                            record.TrainedOn.IsSome
                            (run.TrainData <> run.Setting.Data)
                            $"{run.Name}: other data to train on are recorded"

                    Expect.exists stored _.TrainedOn.IsSome "some train on clips"

                    // Each start is killed a random moment after it began to train; what was finished stays finished.
                    let mutable draws = Philox(21UL, RandomPurpose.Evaluation)
                    let killed = Path.Combine(root, "killed")

                    let files () =
                        if Directory.Exists killed then
                            Directory.GetFiles(killed, "step-*.safetensors", SearchOption.AllDirectories)
                            |> Array.map (fun f -> f, File.GetLastWriteTimeUtc f)
                            |> Set.ofArray
                        else
                            Set.empty

                    let mutable kills = 0
                    let mutable ended = false

                    while not ended && kills < 2 * trainings.Count do
                        let before = files ()
                        use child = TinyRecipe.start (arguments "killed")
                        let finish = Tasks.Task.Run(fun () -> TinyRecipe.finish child)

                        while (files () - before).IsEmpty && not finish.IsCompleted do
                            Thread.Sleep 2

                        finish.Wait(int (draws.NextBelow 400u)) |> ignore

                        if finish.IsCompleted then
                            Expect.equal (fst finish.Result) 0 (snd finish.Result)
                            ended <- true
                        else
                            child.Kill()
                            finish.Wait()
                            kills <- kills + 1

                    Expect.isGreaterThan kills 2 "it was killed, more than once"
                    let code, output = TinyRecipe.finish (TinyRecipe.start (arguments "killed"))
                    Expect.equal code 0 output

                    for (name, weights, metrics, scores), (_, weights', metrics', scores') in
                        List.zip whole (results "killed") do
                        Expect.equal weights' weights $"{name}: state after {kills} kills"
                        Expect.equal metrics' metrics $"{name}: metrics"
                        Expect.equal scores' scores $"{name}: scores")
            }

            for name, signal in [ "MoCo v1", StopAt.Kill; "DINO", StopAt.Terminate ] do
                test $"{name}, stopped at every state by {signal.Name}, ends as if it was not" {
                    inFolder (fun root ->
                        let folder part = Path.Combine(root, part)
                        let code, output = StopAt.run (folder "whole") name None
                        Expect.equal code 0 output
                        let whole = StopAt.outcome (folder "whole") name
                        let chain = StopAt.chain (folder "stopped") name signal whole
                        Expect.isEmpty chain.Faults "faults by state"
                        Expect.isLessThan chain.Late.Length 3 "states that were met")
                }

            test "SIGTERM saves, leaves with 130, and the same command goes on" {
                inFolder (fun root ->
                    let whole = complete (Path.Combine(root, "whole")) []
                    let results = Path.Combine(root, "stopped")
                    use child = TinyRecipe.start (arguments results [])
                    let ended = Tasks.Task.Run(fun () -> TinyRecipe.finish child)

                    while newestStep results = 0L && not ended.IsCompleted do
                        Thread.Sleep 5

                    use kill = nonNull (Process.Start("kill", [ "-TERM"; string child.Id ]))
                    kill.WaitForExit()
                    let code, output = ended.Result
                    Expect.equal code ExitCode.Interrupted output
                    Expect.stringContains output "goes on" "the message says how to continue"
                    let resumed = complete results []
                    Expect.equal { resumed with Starts = 1 } whole "as if it was never stopped")
            }

            test "a finished run is not run again, in well under two seconds of work" {
                inFolder (fun root ->
                    let first = complete root []
                    let before = File.ReadAllText(Path.Combine(root, "tiny", "runs.jsonl"))
                    let clock = Stopwatch.StartNew()
                    let again = complete root []
                    Expect.equal again first "same record"
                    Expect.equal (File.ReadAllText(Path.Combine(root, "tiny", "runs.jsonl"))) before "nothing appended"
                    Expect.isLessThan clock.Elapsed.TotalSeconds 6. "no training")
            }
        ]

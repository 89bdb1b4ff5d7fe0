module Tests.Processes.ResumeTests

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
    let run = (Store(Path.Combine(results, "tiny"))).Load().Runs |> List.exactlyOne
    let folder = Path.Combine(results, "tiny", "work", $"{run.RunId}-s0")
    let checkpoint = Directory.GetFiles(folder, "step-*.safetensors") |> Array.max
    use file = SafetensorsFile.Open checkpoint

    {
        Weights = file.DataHash()
        Metrics = File.ReadAllText(Path.Combine(folder, "metrics.jsonl"))
        Scores = run.Scores |> List.map (fun s -> s.Protocol, s.Value)
        Starts = run.Provenance.Starts
    }

let private complete results extra =
    let code, output = TinyRecipe.finish (TinyRecipe.start (arguments results extra))
    Expect.equal code 0 output
    result results

[<Tests>]
let tests =
    testList
        "resume"
        [ test "killed at random points, ends bit-identical to the run that was not; so with other worker counts" {
              inFolder (fun root ->
                  let folder name = Path.Combine(root, name)
                  let clock = Stopwatch.StartNew()
                  let whole = complete (folder "whole") [ "--workers"; "1" ]
                  let wholeTime = clock.Elapsed
                  Expect.isGreaterThan (whole.Metrics.Split('\n').Length) 3 "metrics were written"

                  let workers = complete (folder "workers") [ "--workers"; "3" ]
                  Expect.equal workers whole "another number of loader workers"

                  // Delays are drawn from a fixed position; where a kill lands still varies with the machine.
                  let mutable delays = Philox(20UL, RandomPurpose.Evaluation)
                  let killed = folder "killed"
                  let mutable kills = 0
                  let mutable fin = false

                  while not fin do
                      use child = TinyRecipe.start (arguments killed [ "--workers"; "2" ])
                      let output = child.StandardOutput.ReadToEndAsync()
                      let errors = child.StandardError.ReadToEndAsync()
                      let delay = wholeTime * delays.NextDouble(0.35, 1.)

                      if kills < 6 && not (child.WaitForExit delay) then
                          child.Kill()
                          child.WaitForExit()
                          kills <- kills + 1
                      else
                          child.WaitForExit()
                          Expect.equal child.ExitCode 0 (output.Result + errors.Result)
                          fin <- true

                  let resumed = result killed
                  Expect.isGreaterThan kills 0 "it was killed at least once"
                  Expect.equal resumed.Starts (kills + 1) "the record says how often it was started"
                  Expect.equal { resumed with Starts = 1 } whole $"after {kills} kills")
          }

          test "SIGTERM saves, leaves with 130, and the same command goes on" {
              inFolder (fun root ->
                  let whole = complete (Path.Combine(root, "whole")) []
                  let results = Path.Combine(root, "stopped")
                  use child = TinyRecipe.start (arguments results [])
                  let ended = Tasks.Task.Run(fun () -> TinyRecipe.finish child)

                  let trained () =
                      Directory.Exists results
                      && Directory.GetFiles(results, "step-*.safetensors", SearchOption.AllDirectories).Length > 0

                  while not (trained ()) && not ended.IsCompleted do
                      Thread.Sleep 5

                  use kill = nonNull (Process.Start("kill", [ "-TERM"; string child.Id ]))
                  kill.WaitForExit()
                  let code, output = ended.Result
                  Expect.equal code Cli.Interrupted output
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
          } ]

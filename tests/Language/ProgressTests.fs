/// What is told while runs are executed, line by line.
module Tests.Language.ProgressTests

open System
open System.Text.RegularExpressions
open Expecto
open SslResearch
open SslResearch.Core.Training

let private report step first deviation =
    StepReport(step, 100L, first, 3, 1.5, 0.25, deviation, 10. * deviation, 812.4, 0.1, TimeSpan.FromSeconds 75.)

let private told (events: IRunReporter -> unit) =
    let lines = ResizeArray<string>()
    events (Progress.lines lines.Add)
    List.ofSeq lines

/// A line without its time, which is checked.
let private words (line: string) =
    let m = Regex.Match(line, @"^\d\d:\d\d:\d\d  (.*)$")
    Expect.isTrue m.Success $"a time first: {line}"
    m.Groups[1].Value

[<Tests>]
let tests =
    testList
        "progress"
        [
            test "each line has its time, and the last step is told" {
                let lines =
                    told (fun r ->
                        r.Started("SimCLR", 3, 2, 7)
                        r.Step(report 100L 0L 0.5)
                        r.Scoring "k-NN"
                        r.Note "a note")

                Expect.equal
                    (lines |> List.map words)
                    [
                        "[2/7] SimCLR, seed 3"
                        "  step 100/100  epoch 3  loss 1.500  deviation 0.50  RankMe 5  812 img/s  1:15 left"
                        "  scoring: k-NN"
                        "a note"
                    ]
                    "lines"
            }

            test "a run that goes on says from which step, once" {
                let lines =
                    told (fun r ->
                        r.Started("SimCLR", 0, 1, 1)
                        r.Step(report 42L 40L 0.5)
                        r.Step(report 43L 40L 0.5)
                        r.Started("MoCo", 0, 1, 1)
                        r.Step(report 1L 0L 0.5))

                Expect.equal
                    (lines |> List.map words |> List.filter (fun l -> l.Contains "goes on"))
                    [ "  goes on from step 40 of 100" ]
                    "lines"
            }

            test "what has no value yet is not said" {
                let lines = told (fun r -> r.Step(report 100L 0L nan))

                Expect.equal
                    (lines |> List.map words)
                    [ "  step 100/100  epoch 3  loss 1.500  812 img/s  1:15 left" ]
                    "line"
            }
        ]

/// What cannot be trained or scored is said before the first step.
module Tests.Language.RehearsalTests

open System
open System.IO
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Data
open Tests.Support

let private root = DataRoot.Resolve null

let private problemsOf run =
    Rehearsal.problems root "cpu" [ run ] |> List.map string

/// One problem in these words.
let private refused run (words: string list) =
    match problemsOf run with
    | [ problem ] ->
        for word in words do
            Expect.stringContains problem word "words"
    | others ->
        let list = String.concat "\n" others
        failtest $"expected one problem, received {others.Length}:\n{list}"

let private spec name =
    MethodKit.all.Value |> List.find (fun s -> s.Name = name)

let private simclr (setting: Setting) =
    Run.ofExperiment
        { Samples.simclr with
            Setting = setting
            Augment = twoViews MethodKit.view
        }

/// Two classes of flat images of these sizes, imported under a name of their own.
let private withImported (entries: (string * int * int) list) (classes: int) (body: string -> Data -> unit) =
    DataFiles.withFolder (fun folder ->
        let data = Path.Combine(folder, "data")

        let source =
            [
                for split, height, width in entries do
                    for label in 0 .. classes - 1 do
                        for number in 0..19 ->
                            DataFiles.File(
                                $"{split}/c{label}/{number}.png",
                                DataFiles.png height width (fun _ _ -> byte (label * 90), byte (number * 9), 7uy)
                            )
            ]
            |> DataFiles.writeFolder (Path.Combine(folder, "source"))

        Importers.Import("odd", source, data, DataFiles.plain, null, CancellationToken.None)
        |> ignore

        body data (Data.imported "odd"))

[<Tests>]
let tests =
    testList
        "rehearsal"
        [
            test "every method of the kit passes" {
                let runs = MethodKit.all.Value |> List.map _.Run
                Expect.isEmpty (Rehearsal.problems root "cpu" runs |> List.map string) "no problems"
            }

            test "baselines, layers and fine-tuning pass" {
                let setting =
                    { MethodKit.setting with
                        Protocols = [ KnnVote 3; At("layer1", KnnVote 3); At("z", KnnVote 3); FineTune 1 ]
                    }

                for run in [ simclr setting; Run.randomInit setting; Run.rawPixels setting ] do
                    Expect.isEmpty (problemsOf run) run.Title
            }

            test "a decoder that does not fit the frames" {
                let films =
                    ShapesInMotion
                        {
                            Train = 64
                            Test = 16
                            Size = 16
                            Frames = 4
                            Seed = 5UL
                            Statistics = Independent
                        }

                let run decoder =
                    Run.ofExperiment (
                        MethodKit.tiny
                            "next frame"
                            (clips films [ Flip 0.5 ])
                            { NextFrame.CpuShapes with
                                Decoder = decoder
                            }
                    )

                Expect.isEmpty (Check.runs [ run [ 8; 8; 8 ] ]) "values alone do not tell"
                refused (run [ 8; 8; 8 ]) [ "Method"; "decoder" ]
            }

            test "a batch that the splits of MoCo's batch norm leave too small" {
                let run splits =
                    Run.ofExperiment (
                        MethodKit.tiny
                            "MoCo"
                            (twoViews MethodKit.view)
                            { Moco.CpuCifarV2 with
                                QueueSize = 64
                                NormSplits = splits
                            }
                    )

                Expect.isEmpty (problemsOf (run 16)) "two images each"
                refused (run 17) [ "Method"; "17" ]
            }

            test "images that the encoder cannot take where it is scored" {
                withImported [ "train", 18, 18; "test", 18, 18 ] 2 (fun data images ->
                    let run =
                        Run.randomInit
                            { MethodKit.setting with
                                Data = images
                                Backbone = SmallVit
                            }

                    let found = Rehearsal.problems data "cpu" [ run ] |> List.map string
                    Expect.hasLength found 1 "one problem"
                    Expect.stringContains found[0] "Setting.Protocols[0]" "where"
                    Expect.stringContains found[0] "--resize" "how to mend it")
            }

            test "fine-tuning with a batch above the data" {
                let run =
                    Run.randomInit
                        { MethodKit.setting with
                            Data =
                                Shapes
                                    {
                                        Train = 96
                                        Test = 16
                                        Size = 16
                                        Seed = 5UL
                                        Statistics = Independent
                                    }
                            Protocols = [ FineTune 1 ]
                        }

                refused run [ "Setting.Protocols[0]"; "128 images a batch, but only 96" ]
            }

            test "one class, and a held-out part that leaves none of a class" {
                withImported [ "train", 16, 16; "test", 16, 16 ] 1 (fun data images ->
                    let run = Run.randomInit { MethodKit.setting with Data = images }

                    Expect.exists
                        (Datasets.problems data [ run ] |> List.map string)
                        _.Contains("two or more classes")
                        "one class")

                withImported [ "train", 16, 16; "test", 16, 16 ] 2 (fun data images ->
                    let run =
                        Run.randomInit
                            { MethodKit.setting with
                                Data = HeldOut(images, 0.98)
                            }

                    Expect.exists
                        (Datasets.problems data [ run ] |> List.map string)
                        _.Contains("no training image of class")
                        "an empty class")
            }
        ]

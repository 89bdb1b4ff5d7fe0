/// Clips in the language: data of their own, checks, identity, import from the command line.
module Tests.Language.ClipsTests

open System
open System.IO
open Expecto
open SslResearch
open SslResearch.Core.Data
open Tests.Support
open Tests.Support.DataFiles

let private motion: ShapesInMotionData =
    {
        Train = 40
        Test = 10
        Size = 16
        Frames = 4
        Seed = 9UL
        Statistics = Independent
    }

let private nextFrame data : Experiment<SslResearch.Core.Views.Clip> =
    {
        Name = "next frame"
        Setting =
            { Samples.setting with
                Train =
                    { Samples.setting.Train with
                        BatchSize = 20
                    }
            }
        Augment = clips data [ Flip 0.5 ]
        Method = NextFrame.CpuShapes
    }

let private problems data =
    Check.runs [ Run.ofExperiment (nextFrame data) ] |> List.map string

let private hasOne (words: string list) (problems: string list) =
    Expect.hasLength problems 1 "one problem"

    for word in words do
        Expect.stringContains problems.Head word word

let private sslr (arguments: string list) =
    let out, error = Console.Out, Console.Error
    use outWriter = new StringWriter()
    use errorWriter = new StringWriter()

    try
        Console.SetOut outWriter
        Console.SetError errorWriter
        let code = Cli.main [] (List.toArray arguments)
        code, outWriter.ToString(), errorWriter.ToString()
    finally
        Console.SetOut out
        Console.SetError error

let private films =
    [
        for split in [ "train"; "test" ] do
            for film in 0..1 do
                for i in 0..3 -> File($"{split}/{film}/{i}.png", flat 8 film i)
    ]

[<Tests>]
let tests =
    testList
        "clips in the language"
        [
            test "a run trains on the clips and is scored on the setting's still images" {
                let run = Run.ofExperiment (nextFrame (ShapesInMotion motion))
                Expect.equal run.TrainData (ShapesInMotion motion) "training"
                Expect.equal run.Setting.Data Samples.setting.Data "scores"
                Expect.isEmpty (problems (ShapesInMotion motion)) "no problems"
                let facts = Map.ofList run.Facts

                Expect.equal
                    facts["clips"]
                    "Shapes in motion 16 px, 4 frames, 40 train, 10 test, seed 9"
                    "what a reader is told"
            }

            test "everything about the clips is part of the identity" {
                let ids =
                    [
                        motion
                        { motion with Train = 41 }
                        { motion with Test = 11 }
                        { motion with Size = 24 }
                        { motion with Frames = 5 }
                        { motion with Seed = 8UL }
                    ]
                    |> List.map (fun m -> (Run.ofExperiment (nextFrame (ShapesInMotion m))).Id)

                Expect.equal (List.distinct ids) ids "another run each"
            }

            test "both splits are opened as film strips with labels, and a held-out part of them" {
                let root = DataRoot.Resolve null
                use splits = Datasets.openSplits root (ShapesInMotion motion)
                Expect.equal (splits.Train.Count, splits.Test.Count) (40, 10) "counts"
                Expect.equal splits.Train.Shape (ImageShape(64, 16, 3)) "strips"
                Expect.equal (splits.Train.Label 7L) 7 "labels"
                use held = Datasets.openSplits root (HeldOut(ShapesInMotion motion, 0.25))
                Expect.equal (held.Train.Count, held.Test.Count) (30, 10) "held out"
            }

            test "mistakes are found before anything runs" {
                hasOne
                    [ "Augment.Data.Frames"; "Give 2 or more" ]
                    (problems (ShapesInMotion { motion with Frames = 1 }))

                hasOne [ "Augment"; "no clips"; "ShapesInMotion" ] (problems Samples.setting.Data)

                hasOne
                    [ "Setting.Train.BatchSize"; "only 8 in the training split" ]
                    (problems (ShapesInMotion { motion with Train = 8 }))

                let scored =
                    Run.rawPixels
                        { Samples.setting with
                            Data = ShapesInMotion motion
                        }

                let found = Check.runs [ scored ] |> List.map string
                Expect.exists found (fun p -> p.Contains "encoders are scored on still images") "scored on clips"
            }

            test "impossible settings of the method are problems" {
                let of' (m: NextFrame) =
                    (m :> IMethod<SslResearch.Core.Views.Clip>).Problems |> List.map _.Where

                Expect.isEmpty
                    (List.collect
                        of'
                        [
                            NextFrame.Default
                            NextFrame.Transformer
                            NextFrame.CpuShapes
                            NextFrame.CpuShapesTransformer
                        ])
                    "presets"

                let wrong: NextFrame =
                    { NextFrame.CpuShapes with
                        Decoder = [ 0 ]
                        Painting = FramePainting.Motion 0
                        Memory = FrameMemory.Lstm { Width = 0; Layers = 0 }
                    }

                Expect.equal
                    (of' wrong)
                    [ "Memory.Width"; "Memory.Layers"; "Decoder[0]"; "Painting.reach" ]
                    "all of them"

                let transformer: NextFrame =
                    { NextFrame.CpuShapes with
                        Memory =
                            FrameMemory.Transformer
                                {
                                    Width = 12
                                    Depth = 1
                                    Heads = 5
                                    MlpRatio = 2.
                                }
                    }

                Expect.equal (of' transformer) [ "Memory.Width" ] "heads"
            }

            test "folders of frames are imported from the command line, and used" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = writeFolder (Path.Combine(folder, "set")) films

                    let before =
                        Datasets.problems
                            root
                            [
                                Run.ofExperiment (nextFrame (Data.importedWith Normalisation.imageNet "films"))
                            ]
                        |> List.map string

                    Expect.exists before (fun p -> p.Contains "Augment.Data" && p.Contains "films") "not there yet"

                    let code, out, error = sslr [ "data"; "import"; "films"; source; "--frames"; "3"; "--data"; root ]

                    Expect.equal code 0 error
                    Expect.stringContains out "films/train: 2 clips of 3 frames of 8x8x3" "what it made"
                    let code, _, error = sslr [ "data"; "verify"; "films"; "--data"; root ]
                    Expect.equal code 0 error

                    let after =
                        Datasets.problems
                            root
                            [
                                Run.ofExperiment (nextFrame (Data.importedWith Normalisation.imageNet "films"))
                            ]
                        |> List.map string

                    hasOne [ "20 images a batch"; "only 2" ] after

                    let code, out, error =
                        sslr
                            [
                                "data"
                                "import"
                                "films"
                                source
                                "--frames"
                                "2"
                                "--frame-stride"
                                "2"
                                "--replace"
                                "--data"
                                root
                            ]

                    Expect.equal code 0 error
                    Expect.stringContains out "clips of 2 frames" "with a stride")
            }

            test "wrong usage of the options is 2, with words" {
                for options, words in
                    [
                        [ "--frames"; "1" ], "give 2 or more"
                        [ "--frames"; "3"; "--frame-stride"; "0" ], "give 1 or more"
                        [ "--frame-stride"; "2" ], "belongs to --frames"
                    ] do
                    let code, _, error = sslr ([ "data"; "import"; "films"; "nowhere" ] @ options)
                    Expect.equal code 2 words
                    Expect.stringContains error words words
            }
        ]

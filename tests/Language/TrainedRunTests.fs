/// Runs that build on other runs: identity, order, failures.
module Tests.Language.TrainedRunTests

open System
open System.IO
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Views

let private setting: Setting =
    {
        Data =
            Shapes
                {
                    Train = 96
                    Test = 40
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Backbone =
            {
                Block = Basic
                Blocks = [ 1; 1 ]
                Width = 4
                Stem = CifarStemStride2
            }
        Train =
            { Train.CpuScale with
                Epochs = 2
                BatchSize = 16
                Optimiser = AdamW AdamWRule.Default
                Rate = Rate.Fixed 1e-3
            }
        Protocols = [ Knn(k = 5, temperature = 0.1) ]
        Seeds = [ 0; 1 ]
    }

let private words: Experiment<OneView> =
    {
        Name = "words"
        Setting = setting
        Augment = oneView [ Flip 0.5 ]
        Method =
            { Dvae.CpuCifar with
                Vocabulary = 16
                CodeWidth = 8
                Decoder = [ 8; 8; 8 ]
            }
    }

let private on (tokenizer: Run) : Experiment<MaskedView> =
    {
        Name = "beit"
        Setting =
            { setting with
                Backbone =
                    { VitTiny 16 4 with
                        Width = 24
                        Depth = 2
                    }
            }
        Augment = maskedBlocks 4 0.4 3 [ Flip 0.5 ]
        Method = Beit.Default tokenizer
    }

let private tokenizer = Run.ofExperiment words
let private beit = Run.ofExperiment (on tokenizer)

let private recipe (runs: Run list) : Recipe =
    {
        Name = "tiny"
        Summary = "a small study"
        Tables = [ Table.compare "tiny" runs setting.Protocols ]
    }

type private Recorder() =
    member val Log = ResizeArray<string>()

    member r.Text = String.concat "\n" r.Log

    interface IRunReporter with
        member r.Started(title, seed, position, total) =
            r.Log.Add $"start {title} {seed} {position}/{total}"

        member _.Step _ = ()
        member _.Scoring _ = ()
        member r.Finished run = r.Log.Add $"done {run.Name} {run.Seed}"

        member r.Failed(title, seed, error) =
            r.Log.Add $"failed {title} {seed}: {error.Message}"

        member r.Note text = r.Log.Add $"note {text}"

let private inFolder (body: RunOptions -> unit) =
    Tests.Support.Studies.inFolder (fun options -> body { options with Seeds = Some [ 0 ] })

let private store (options: RunOptions) = Store(options.Results, "tiny")

let private execute runs options (recorder: Recorder) =
    let result = Execute.recipe (recipe runs) options recorder CancellationToken.None
    result.Done, result.Before, result.Failed

type private Holder =
    {
        Tokenizer: ITrainedRun
        Weight: float
    }

[<Tests>]
let tests =
    testList
        "runs that build on runs"
        [
            test "inside a record, a run is written by its identity" {
                Expect.equal
                    (Canonical.text "x" { Tokenizer = tokenizer; Weight = 0.5 })
                    $"x = Tests.Language.TrainedRunTests+Holder\nx.Tokenizer = run {tokenizer.Id}\nx.Weight = 0.5\n"
                    "text"

                Expect.stringContains beit.CanonicalText $"Method.Tokenizer = run {tokenizer.Id}\n" "of a run"
            }

            test "another run beneath makes another run, another name of it does not" {
                let longer =
                    { words with
                        Setting =
                            { setting with
                                Train = { setting.Train with Epochs = 3 }
                            }
                    }

                let renamed = { words with Name = "other" }
                Expect.notEqual (Run.ofExperiment (on (Run.ofExperiment longer))).Id beit.Id "longer"
                Expect.equal (Run.ofExperiment (on (Run.ofExperiment renamed))).Id beit.Id "renamed"

                let control =
                    { on tokenizer with
                        Method =
                            { Beit.Default tokenizer with
                                Targets = ShuffledTokens
                            }
                    }

                Expect.notEqual (Run.ofExperiment control).Id beit.Id "shuffled words"
                Expect.equal (beit.Needs |> List.map _.Id) [ tokenizer.Id ] "what it needs"
            }

            test "a recipe runs what its rows build on, before them and with their seeds" {
                let names runs =
                    Recipe.runs (recipe runs) |> List.map (fun r -> r.Name, r.Seeds)

                Expect.equal (names [ beit ]) [ "words", [ 0; 1 ]; "beit", [ 0; 1 ] ] "one row"

                let once =
                    { words with
                        Setting = { setting with Seeds = [ 7 ] }
                    }

                Expect.equal
                    (names [ Run.ofExperiment once; beit ])
                    [ "words", [ 7; 0; 1 ]; "beit", [ 0; 1 ] ]
                    "a row of its own too"
            }

            test "problems of a run beneath are found before anything runs" {
                let broken =
                    { words with
                        Method = { Dvae.CpuCifar with Vocabulary = 1 }
                    }

                let problems = Check.recipe (recipe [ Run.ofExperiment (on (Run.ofExperiment broken)) ])
                Expect.equal (problems |> List.map _.Where) [ "words: Method.Vocabulary" ] "where"
                Expect.isEmpty (Check.recipe (recipe [ beit ])) "a sound one"

                let blind = { on tokenizer with Setting = setting }

                Expect.exists
                    (Check.recipe (recipe [ Run.ofExperiment blind ]))
                    (fun p -> p.What.Contains "hides patches")
                    "an encoder that takes no patches"
            }

            test "it is trained first and once; a second call does nothing" {
                inFolder (fun options ->
                    let first = Recorder()
                    Expect.equal (execute [ beit ] options first) (2, 0, 0) first.Text

                    Expect.equal
                        (List.ofSeq first.Log)
                        [ "start words 0 1/2"; "done words 0"; "start beit 0 2/2"; "done beit 0" ]
                        "in this order"

                    let second = Recorder()
                    Expect.equal (execute [ beit ] options second) (0, 2, 0) second.Text
                    Expect.isEmpty second.Log "nothing started"

                    let stored = (store options).Load().Runs
                    let run = stored |> List.find (fun r -> r.RunId = beit.Id)
                    Expect.floatClose Accuracy.high run.Training.Chance (log 16.) "chance of 16 words"

                    // Its weights are read from its checkpoint, and made again where that is gone.
                    let other =
                        Run.ofExperiment
                            { on tokenizer with
                                Method =
                                    { Beit.Default tokenizer with
                                        Targets = ShuffledTokens
                                    }
                            }

                    Directory.Delete((store options).WorkFolder(tokenizer.TrainId, 0), true)
                    let third = Recorder()
                    Expect.equal (execute [ other ] options third) (1, 1, 0) third.Text)
            }

            test "asked for alone, a run brings what it builds on" {
                inFolder (fun options ->
                    let recorder = Recorder()
                    let options = { options with Only = Some beit.Id }

                    let runs =
                        [
                            Run.rawPixels
                                { setting with
                                    Backbone = (on tokenizer).Setting.Backbone
                                }
                            beit
                        ]

                    Expect.equal (execute runs options recorder) (2, 0, 0) recorder.Text)
            }

            test "where it fails, the run that builds on it fails too and says so; others go on" {
                inFolder (fun options ->
                    let missing =
                        Run.ofExperiment
                            { words with
                                Setting =
                                    { setting with
                                        Data = Data.imported "not-there"
                                    }
                            }

                    let recorder = Recorder()
                    let runs = [ Run.ofExperiment (on missing); Run.rawPixels setting ]
                    Expect.equal (execute runs options recorder) (1, 0, 2) recorder.Text

                    Expect.contains
                        recorder.Log
                        "failed beit 0: It builds on words, which failed with this seed."
                        "the reason"

                    Expect.isTrue (recorder.Log.Exists(fun l -> l.StartsWith "failed words 0: ")) "the cause"
                    Expect.contains recorder.Log "done raw pixels 0" "the other run")
            }

            test "where it diverges, it is a result, and the run that builds on it says what to mend" {
                inFolder (fun options ->
                    let wild =
                        Run.ofExperiment
                            { words with
                                Setting =
                                    { setting with
                                        Train =
                                            { setting.Train with
                                                Optimiser = Sgd SgdRule.Default
                                                Rate = Rate.Fixed 1e30
                                                WarmupFraction = 0.
                                            }
                                    }
                            }

                    let recorder = Recorder()
                    Expect.equal (execute [ Run.ofExperiment (on wild) ] options recorder) (1, 0, 1) recorder.Text
                    let failure = recorder.Log |> Seq.find _.StartsWith("failed beit 0")
                    Expect.stringContains failure "builds on words, which diverged with this seed" "what"
                    Expect.stringContains failure "mend that run first" "what to do")
            }

            test "a run that names no patches is no tokenizer" {
                inFolder (fun options ->
                    let simclr =
                        Run.ofExperiment
                            {
                                Name = "simclr"
                                Setting = setting
                                Augment = twoViews [ CropTo(12, 0.3, 1.0); Flip 0.5 ]
                                Method = SimClr.CpuCifar
                            }

                    let recorder = Recorder()
                    Expect.equal (execute [ Run.ofExperiment (on simclr) ] options recorder) (1, 0, 1) recorder.Text
                    let failure = recorder.Log |> Seq.find _.StartsWith("failed beit 0")
                    Expect.stringContains failure "'simclr' trains a SimClr, which names no patches" "what"
                    Expect.stringContains failure "Tokenizer is a run of a Dvae" "what to do"

                    for wrong in [ simclr; Run.randomInit setting ] do
                        let problem =
                            Check.recipe (recipe [ Run.ofExperiment (on wrong) ])
                            |> List.filter (fun p -> p.Where.EndsWith "Method.Tokenizer")
                            |> List.exactlyOne

                        Expect.stringContains problem.What $"'{wrong.Title}', which names no patches" "found before")
            }

            test "words of patches of another size are refused" {
                inFolder (fun options ->
                    let coarse =
                        Run.ofExperiment
                            { words with
                                Setting =
                                    { setting with
                                        Backbone =
                                            {
                                                Block = Basic
                                                Blocks = [ 1 ]
                                                Width = 4
                                                Stem = CifarStemStride2
                                            }
                                    }
                                Method =
                                    { Dvae.CpuCifar with
                                        Vocabulary = 16
                                        Decoder = [ 8; 8 ]
                                    }
                            }

                    let recorder = Recorder()
                    Expect.equal (execute [ Run.ofExperiment (on coarse) ] options recorder) (1, 0, 1) recorder.Text
                    let failure = recorder.Log |> Seq.find _.StartsWith("failed beit 0")
                    Expect.stringContains failure "patches of 2 pixels, the encoder sees patches of 4" "what")
            }
        ]

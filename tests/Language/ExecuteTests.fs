/// A small study from value to table: real images, real training, real scores.
module Tests.Language.ExecuteTests

open System
open System.IO
open System.Threading
open Expecto
open SslResearch
open Tests.Support.Studies
open SslResearch.Core.Training

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
            }
        Protocols =
            [
                Knn(k = 5, temperature = 0.1)
                KnnVote 3
                At("layer1", KnnVote 3)
                At("z", KnnVote 3)
                LinearProbe(epochs = 5)
            ]
        Seeds = [ 0; 1 ]
    }

let private view = [ CropTo(12, 0.3, 1.0); Flip 0.5; Jitter(0.8, 0.5) ]

let private simclr =
    {
        Name = "simclr"
        Setting = setting
        Augment = twoViews view
        Method =
            { SimClr.Default with
                Projection =
                    Mlp
                        {
                            Hidden = Some 8
                            Output = 6
                            BatchNorm = true
                        }
            }
    }

let private supervised =
    {
        Name = "supervised"
        Setting =
            { setting with
                Protocols = setting.Protocols |> List.filter (fun p -> Protocol.layer p <> "z")
            }
        Augment = labelled view
        Method = Supervised
    }

let private table runs =
    Table.compare "tiny" runs [ setting.Protocols.Head ]

let private recipe: Recipe =
    {
        Name = "tiny"
        Summary = "a small study"
        Tables =
            [
                table [ Run.rawPixels setting; Run.randomInit setting; Run.ofExperiment simclr ]
                table [ Run.ofExperiment supervised ]
            ]
    }

let private only (experiment: Experiment<'Views>) : Recipe =
    { recipe with
        Tables = [ table [ Run.ofExperiment experiment ] ]
    }

type private Recorder() =
    member val Log = ResizeArray<string>()
    member val OnStep: StepReport -> unit = ignore with get, set

    interface IRunReporter with
        member r.Started(title, seed, position, total) =
            r.Log.Add $"start {title} {seed} {position}/{total}"

        member r.Step report = r.OnStep report
        member _.Scoring _ = ()
        member r.Finished run = r.Log.Add $"done {run.Name} {run.Seed}"

        member r.Failed(title, seed, error) =
            r.Log.Add $"failed {title} {seed}: {error.Message}"

        member r.Note text = r.Log.Add $"note {text}"

let private store (options: RunOptions) = Store(options.Results, "tiny")

let private execute recipe options (recorder: Recorder) stop =
    Execute.recipe recipe options recorder stop

/// What must not depend on how a run was done.
let private essence (run: StoredRun) =
    run.RunId,
    run.Seed,
    run.Verdict,
    run.Scores |> List.map (fun s -> s.Protocol, s.Value, s.Details),
    string run.Training.Loss,
    run.Training.Steps,
    run.Training.Curve

[<Tests>]
let tests =
    testList
        "execute"
        [
            test "a study runs once; a second call does nothing; a new seed runs alone" {
                inFolder (fun options ->
                    let first = Recorder()
                    let result = execute recipe options first CancellationToken.None
                    let log = String.Join("\n", first.Log)

                    Expect.equal
                        result
                        {
                            Done = 7
                            Before = 0
                            Failed = 0
                            Interrupted = false
                        }
                        log

                    let stored = (store options).Load().Runs
                    Expect.equal stored.Length 7 "raw pixels once, the others with two seeds"

                    let byName (name: string) : StoredRun list =
                        stored |> List.filter (fun r -> r.Name = name)

                    Expect.equal
                        ((List.head (byName "simclr")).Scores |> List.map _.Protocol)
                        (setting.Protocols |> List.map Protocol.name)
                        "all protocols, in order"

                    Expect.equal (List.head (byName "raw pixels")).Scores.Length 3 "h alone"
                    Expect.equal (List.head (byName "random initialisation")).Scores.Length 4 "all but z"

                    for run in stored do
                        for score in run.Scores do
                            Expect.isTrue (score.Value >= 0. && score.Value <= 100.) $"{run.Name} {score.Protocol}"

                        Expect.equal run.Dataset.TrainCount 96 "images"
                        Expect.equal run.Provenance.Device "cpu" "device"
                        Expect.isTrue (run.Provenance.Threads > 0) "threads"
                        Expect.equal run.Provenance.Starts 1 "starts"

                    for run in byName "simclr" do
                        Expect.equal run.Training.Steps 12L "6 steps an epoch"
                        Expect.isNonEmpty run.Training.Curve "curve"
                        Expect.isTrue (Double.IsFinite run.Training.Chance) "chance level"

                    Expect.equal (List.head (byName "random initialisation")).Verdict "untrained" "verdict"

                    Expect.isTrue
                        (Directory.Exists((store options).WorkFolder((Run.ofExperiment simclr).TrainId, 0)))
                        "work files stay"

                    let second = Recorder()
                    let again = execute recipe options second CancellationToken.None
                    Expect.equal (again.Done, again.Before) (0, 7) "nothing to do"
                    Expect.isEmpty second.Log "nothing started"

                    let third = Recorder()

                    let more =
                        execute (only supervised) { options with Seeds = Some [ 1; 2 ] } third CancellationToken.None

                    Expect.equal (more.Done, more.Before) (1, 1) "the new seed"

                    let tables = Report.render options.Results recipe
                    Expect.equal (tables |> List.map _.Rows.Length) [ 3; 1 ] "rows"
                    Expect.equal (tables |> List.last |> _.Rows |> List.head |> List.head) "supervised" "row")
            }

            test "a protocol asked for later, in whatever recipe, scores the training that is there" {
                inFolder (fun options ->
                    let options = { options with Seeds = Some [ 0 ] }
                    let steps = ref 0
                    let recorder = Recorder(OnStep = fun _ -> steps.Value <- steps.Value + 1)
                    let first = execute (only simclr) options recorder CancellationToken.None
                    Expect.equal (first.Done, first.Failed) (1, 0) (String.concat "\n" recorder.Log)
                    Expect.isGreaterThan steps.Value 0 "it trains"
                    steps.Value <- 0

                    let later =
                        { simclr with
                            Setting =
                                { simclr.Setting with
                                    Protocols = [ Knn(k = 7, temperature = 0.2) ]
                                }
                        }

                    let run (e: Experiment<_>) = Run.ofExperiment e
                    Expect.notEqual (run later).Id (run simclr).Id "another row"
                    Expect.equal (run later).TrainId (run simclr).TrainId "one training"

                    let elsewhere = { only later with Name = "tiny-later" }
                    let second = execute elsewhere options recorder CancellationToken.None
                    Expect.equal (second.Done, second.Failed) (1, 0) (String.concat "\n" recorder.Log)
                    Expect.equal steps.Value 0 "no step is done again"

                    let alone (recipe: string) =
                        (Store(options.Results, recipe)).Load().Runs |> List.exactlyOne

                    let before, after = alone "tiny", alone "tiny-later"
                    Expect.equal after.Training.Loss before.Training.Loss "the same training"
                    Expect.equal after.Training.Curve before.Training.Curve "its curve"
                    Expect.equal after.Training.Seconds before.Training.Seconds "its time"
                    Expect.equal after.Provenance.Starts 1 "its own start"

                    let other =
                        { later with
                            Setting =
                                { later.Setting with
                                    Train =
                                        { later.Setting.Train with
                                            Epochs = later.Setting.Train.Epochs + 1
                                        }
                                }
                        }

                    Expect.notEqual (run other).TrainId (run later).TrainId "another training")
            }

            test "stopped anywhere and called again, it stores what an unstopped run stores" {
                let mutable whole = None

                inFolder (fun options ->
                    execute (only simclr) options (Recorder()) CancellationToken.None |> ignore
                    whole <- Some((store options).Load().Runs |> List.map essence))

                inFolder (fun options ->
                    let mutable stops = 0
                    let mutable finished = false

                    while not finished do
                        use stop = new CancellationTokenSource()
                        let recorder = Recorder()

                        if stops < 3 then
                            recorder.OnStep <-
                                fun r ->
                                    if r.Step >= int64 (3 + 4 * stops) then
                                        stop.Cancel()

                        let result = execute (only simclr) options recorder stop.Token

                        if result.Interrupted then
                            stops <- stops + 1
                        else
                            finished <- true

                        Expect.isLessThan stops 10 "comes to an end"

                    let stored = (store options).Load().Runs
                    Expect.isTrue (stops >= 1) "it was stopped"
                    Expect.isTrue (stored |> List.exists (fun r -> r.Provenance.Starts > 1)) "starts are counted"
                    Expect.equal (Some(stored |> List.map essence)) whole "the same results")
            }

            test "a stop that comes when the last run is done interrupts nothing, one before it does" {
                for stopAt, interrupted in [ "random initialisation", false; "raw pixels", true ] do
                    inFolder (fun options ->
                        use stop = new CancellationTokenSource()

                        let two: Recipe =
                            { recipe with
                                Tables =
                                    [
                                        table [ Run.rawPixels setting; Run.randomInit { setting with Seeds = [ 0 ] } ]
                                    ]
                            }

                        let reporter =
                            { new IRunReporter with
                                member _.Started(_, _, _, _) = ()
                                member _.Step _ = ()
                                member _.Scoring _ = ()

                                member _.Finished run =
                                    if run.Name = stopAt then
                                        stop.Cancel()

                                member _.Failed(_, _, _) = ()
                                member _.Note _ = ()
                            }

                        let result = Execute.recipe two options reporter stop.Token
                        Expect.equal result.Interrupted interrupted stopAt
                        Expect.equal result.Done (if interrupted then 1 else 2) stopAt)
            }

            test "a failing run is reported and the others go on" {
                inFolder (fun options ->
                    // Taller than the images can be halved, and no dataset under that name: an exception at run time.
                    let missing =
                        { supervised with
                            Setting =
                                { supervised.Setting with
                                    Data = Data.imported "not-there"
                                    Seeds = [ 0 ]
                                }
                        }

                    let both: Recipe =
                        { recipe with
                            Tables = [ table [ Run.ofExperiment missing ]; table [ Run.rawPixels setting ] ]
                        }

                    let recorder = Recorder()
                    let result = execute both options recorder CancellationToken.None
                    Expect.equal (result.Done, result.Failed) (1, 1) (String.concat "\n" recorder.Log)
                    Expect.isTrue (recorder.Log.Exists(fun l -> l.Contains "failed supervised 0")) "told"
                    Expect.equal ((store options).Load().Runs |> List.map _.Name) [ "raw pixels" ] "stored")
            }

            test "a run that diverges is a result without scores" {
                inFolder (fun options ->
                    let wild =
                        { supervised with
                            Setting =
                                { supervised.Setting with
                                    Seeds = [ 0 ]
                                    Train =
                                        { setting.Train with
                                            Rate = Rate.Fixed 1e30
                                            WarmupFraction = 0.
                                        }
                                }
                        }

                    let result = execute (only wild) options (Recorder()) CancellationToken.None
                    Expect.equal (result.Done, result.Failed) (1, 0) "an outcome, not a failure"
                    let run = (store options).Load().Runs |> List.exactlyOne
                    Expect.equal run.Verdict "diverged" "verdict"
                    Expect.isEmpty run.Scores "no scores"
                    let again = execute (only wild) options (Recorder()) CancellationToken.None
                    Expect.equal again.Before 1 "and it is final")
            }

            test "two executions at once share the work and run nothing twice" {
                inFolder (fun options ->
                    let recorders = [| Recorder(); Recorder() |]

                    let results =
                        recorders
                        |> Array.map (fun recorder ->
                            Tasks.Task.Factory.StartNew(
                                (fun () -> execute recipe options recorder CancellationToken.None),
                                Tasks.TaskCreationOptions.LongRunning
                            ))
                        |> Array.map _.Result

                    let stored = (store options).Load().Runs
                    Expect.equal stored.Length 7 "all there"
                    Expect.equal (results |> Array.sumBy _.Done) 7 "each done by one of them"
                    Expect.equal (File.ReadAllLines((store options).Path).Length) 7 "lines"
                    Expect.isTrue (stored |> List.forall (fun r -> r.Provenance.Starts = 1)) "started once")
            }

            test "curves are thinned to their ends and what lies evenly between" {
                let points =
                    [
                        for i in 1..1000 ->
                            {
                                Step = int64 i
                                Loss = 0.
                                Deviation = 0.
                                RankMe = 0.
                            }
                    ]

                let thin = Execute.thinned points |> List.map _.Step
                Expect.equal (List.head thin, List.last thin) (1L, 1000L) "ends"
                Expect.equal thin.Length 60 "points"
                Expect.equal (List.distinct thin) thin "no point twice"
            }
        ]

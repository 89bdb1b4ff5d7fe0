namespace SslResearch

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Text.Json
open System.Threading
open SslResearch.Core.Evaluation
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open SslResearch.Core.Training
open TorchSharp

/// How and where to run: nothing here is part of an experiment.
type RunOptions =
    {
        /// The folder that holds one folder for each recipe.
        Results: string
        DataRoot: string
        /// cpu, cuda or cuda:n.
        Device: string
        /// Threads inside one operation; None takes all cores.
        Threads: int option
        /// Threads that render batches.
        Workers: int
        /// Folder of another libtorch.
        TorchLibrary: string option
        /// Steps between checkpoints.
        CheckpointEvery: int
        /// Only runs whose id starts so.
        Only: string option
        /// These seeds instead of the recipe's.
        Seeds: int list option
    }

/// What is told while runs are executed.
type IRunReporter =
    /// A run begins or goes on; position counts from 1.
    abstract Started: title: string * seed: int * position: int * total: int -> unit
    abstract Step: StepReport -> unit
    /// A part of the evaluation begins.
    abstract Scoring: string -> unit
    abstract Finished: StoredRun -> unit
    abstract Failed: title: string * seed: int * error: exn -> unit
    abstract Note: string -> unit

/// How the execution of a recipe ended.
type ExecuteResult =
    {
        /// Runs done now.
        Done: int
        /// Runs that were done before.
        Before: int
        Failed: int
        /// Stopped on request with everything saved.
        Interrupted: bool
    }

/// Runs what is not stored yet.
[<RequireQualifiedAccess>]
module Execute =
    /// Points of a stored training curve.
    let private curvePoints = 60

    /// Run and seed pairs that a recipe asks for under these options, after those that they build on: every run with its first
    /// seed, then with its second, and so on, so that the table fills from the start and its intervals narrow later.
    let tasks (recipe: Recipe) (options: RunOptions) : (Run * int) list =
        let all = Recipe.runs recipe

        let chosen =
            match options.Only with
            | None -> all |> List.map _.Id |> Set.ofList
            | Some id ->
                all
                |> List.filter _.Id.StartsWith(id, StringComparison.Ordinal)
                |> List.collect Run.withNeeds
                |> List.map _.Id
                |> Set.ofList

        let seeds (run: Run) =
            match options.Seeds, run.Kind with
            | None, _ -> run.Seeds
            | Some wanted, RawPixels -> run.Seeds |> List.filter (fun s -> List.contains s wanted)
            | Some wanted, _ -> wanted

        [
            for run in all do
                if chosen.Contains run.Id then
                    for round, seed in List.indexed (seeds run) do
                        round, (run, seed)
        ]
        |> List.sortBy fst
        |> List.map snd

    /// First and last point and evenly many between.
    let thinned (points: CurvePoint list) =
        if points.Length <= curvePoints then
            points
        else
            let all = List.toArray points

            [
                for i in 0 .. curvePoints - 1 -> all[i * (all.Length - 1) / (curvePoints - 1)]
            ]

    /// The curve of a training from the metrics that the loop wrote, those of earlier starts included.
    let private curve (folder: string) =
        let path = Path.Combine(folder, "metrics.jsonl")

        if not (File.Exists path) then
            []
        else
            let point (line: string) =
                try
                    use document = JsonDocument.Parse line

                    let real (name: string) =
                        match document.RootElement.TryGetProperty name with
                        | true, e when e.ValueKind = JsonValueKind.Number -> e.GetDouble()
                        | _ -> nan

                    Some
                        {
                            Step = int64 (real "step")
                            Loss = real "loss"
                            Deviation = real "deviation"
                            RankMe = real "rankme"
                        }
                with :? JsonException ->
                    None

            File.ReadLines path |> Seq.choose point |> Seq.toList |> thinned

    let private verdict (outcome: TrainOutcome option) =
        match outcome |> Option.map _.Verdict with
        | None
        | Some Verdict.Untrained -> "untrained"
        | Some Verdict.Learned -> "learned"
        | Some Verdict.AtChance -> "at chance"
        | Some Verdict.Collapsed -> "collapsed (equal embeddings)"
        | Some Verdict.CollapsedDimensions -> "collapsed (few dimensions)"
        | Some Verdict.CollapsedUniform -> "collapsed (uniform assignments)"
        | Some Verdict.CollapsedToOne -> "collapsed (one prototype)"
        | Some Verdict.Diverged -> "diverged"
        | Some other -> string other

    /// What the trained method predicts, drawn beside the results; its path from there.
    let private draw
        (run: Run)
        seed
        (content: string option)
        (encoder: TrainedEncoder)
        (dataOf: Data -> OpenData)
        (store: Store)
        : string option =
        encoder.Picture
        |> Option.map (fun picture ->
            let content = content |> Option.map (fun c -> "-" + c) |> Option.defaultValue ""
            let path = $"pictures/{run.Id}{content}-s{seed}.png"
            let data = dataOf run.TrainData
            let normalisation = Data.normalisation data.Train run.TrainData
            Pictures.write (store.File path) run seed normalisation picture data.Test
            path)

    /// How often this run and seed was started, this time included.
    let private countStart (folder: string) (run: Run) =
        Directory.CreateDirectory folder |> ignore
        let path = Path.Combine(folder, $"starts-{run.Id}")
        File.AppendAllText(path, StoredRun.time DateTime.UtcNow + "\n")
        File.ReadLines path |> Seq.length

    /// Trains a run, or takes it from its last checkpoint: at once where that is its end.
    let rec private train
        (run: Run)
        seed
        (dataOf: Data -> OpenData)
        (present: Data -> (string * string) option)
        (store: Store)
        (options: RunOptions)
        (reporter: IRunReporter)
        (stop: CancellationToken)
        : TrainedEncoder =
        let rec trained (needed: Run) : IDisposable =
            match store.TryLock(needed.TrainId, seed, ?content = Contents.tag present needed) with
            | None ->
                // Another process reads its checkpoint too.
                stop.WaitHandle.WaitOne 200 |> ignore
                stop.ThrowIfCancellationRequested()
                trained needed
            | Some held ->
                use _ = held
                resumed needed

        and resumed (needed: Run) : IDisposable =
            let result = train needed seed dataOf present store options reporter stop

            match result.Outcome with
            | Some outcome when outcome.End = TrainEnd.Interrupted ->
                (result :> IDisposable).Dispose()
                raise (OperationCanceledException())
            | Some outcome when outcome.End = TrainEnd.Diverged ->
                (result :> IDisposable).Dispose()

                invalidOp
                    $"{run.Title}, seed {seed}, builds on {needed.Title}, which diverged with this seed: mend that run first, a lower learning rate for instance."
            | _ -> result.Owner

        run.train
            {
                Train = (dataOf run.TrainData).Train
                Seed = uint64 seed
                Device = options.Device
                Workers = options.Workers
                CheckpointEvery = options.CheckpointEvery
                StopAtCollapse = false
                Folder = store.WorkFolder(run.TrainId, seed, ?content = Contents.tag present run)
                Progress =
                    { new IProgress<StepReport> with
                        member _.Report report = reporter.Step report
                    }
                Stop = stop
                Trained =
                    fun needed ->
                        match needed with
                        | :? Run as needed -> trained needed
                        | other -> invalidOp $"{run.Title} builds on '{other.Title}', which is no run of this library"
            }

    let private dataset (described: Data) (data: OpenData) =
        {
            Name = data.Train.Name
            TrainCount = data.Train.Count
            TestCount = data.Test.Count
            TrainFingerprint = data.Train.Fingerprint
            TestFingerprint = data.Test.Fingerprint
            Normalisation =
                match Data.constants described with
                | Some _ -> None
                | None -> Some(Data.normalisation data.Train described)
        }

    /// One run and seed, from data to stored line. None where it was interrupted.
    let private runOne
        (run: Run)
        seed
        (dataOf: Data -> OpenData)
        (present: Data -> (string * string) option)
        (store: Store)
        (known: Score list)
        (options: RunOptions)
        (runtime: RuntimeInfo)
        (reporter: IRunReporter)
        stop
        =
        let data = dataOf run.Setting.Data
        let content = Contents.tag present run
        let folder = store.WorkFolder(run.TrainId, seed, ?content = content)
        let started = DateTime.UtcNow
        let starts = countStart folder run
        let device = TorchRuntime.Device options.Device
        use encoder = train run seed dataOf present store options reporter stop

        for outcome in Option.toList encoder.Outcome do
            Seq.iter reporter.Note outcome.Notes

        match encoder.Outcome with
        | Some outcome when outcome.End = TrainEnd.Interrupted -> None
        | outcome ->
            encoder.Backbone |> Option.iter (fun b -> b.``to`` device |> ignore)
            let clock = Stopwatch.StartNew()

            let scores, failures =
                match outcome with
                | Some o when o.End = TrainEnd.Diverged -> [], []
                | _ ->
                    Evaluate.scores
                        run
                        data
                        encoder
                        (uint64 seed)
                        {
                            Device = options.Device
                            Workers = options.Workers
                            CheckpointEvery = options.CheckpointEvery
                            Folder = folder
                            Scoring = reporter.Scoring
                        }
                        known
                        stop

            let measures, picture =
                match outcome with
                | Some o when o.End <> TrainEnd.Diverged ->
                    let ofTest measure = measure (dataOf run.TrainData).Test

                    encoder.Measure |> Option.map ofTest |> Option.defaultValue [],
                    draw run seed content encoder dataOf store
                | _ -> [], None

            let hash, dirty = Provenance.commit ()
            let levels = outcome |> Option.bind (fun o -> Option.ofObj o.Levels)

            let level (pick: SslResearch.Core.Methods.LossLevels -> Nullable<float>) =
                levels |> Option.bind (pick >> Option.ofNullable) |> Option.defaultValue nan

            let trained (pick: TrainOutcome -> 'T) (fallback: 'T) =
                outcome |> Option.map pick |> Option.defaultValue fallback

            let record =
                {
                    RunId = run.Id
                    Seed = seed
                    Name = run.Name
                    Labels = run.Labels
                    Canonical = run.CanonicalText
                    Verdict = verdict outcome
                    Scores = scores
                    Failures = failures
                    Measures = measures
                    Picture = picture
                    Training =
                        {
                            Loss = trained (fun o -> o.Loss) nan
                            Chance = level _.Chance
                            Collapsed = level _.Collapsed
                            Deviation = trained (fun o -> o.Deviation) nan
                            RankMe = trained (fun o -> o.RankMe) nan
                            Steps = trained (fun o -> o.Steps) 0L
                            Budget = trained (fun o -> o.Budget) 0L
                            CollapsedSince = outcome |> Option.bind (fun o -> Option.ofNullable o.CollapsedSince)
                            Seconds = trained (fun o -> o.Seconds) 0.
                            ImagesPerSecond = trained (fun o -> o.ImagesPerSecond) nan
                            PeakMemory = trained (fun o -> o.PeakMemory) (Process.GetCurrentProcess().PeakWorkingSet64)
                            Curve = curve folder
                        }
                    EvaluationSeconds = clock.Elapsed.TotalSeconds
                    Dataset = dataset run.Setting.Data data
                    TrainedOn =
                        if run.TrainData = run.Setting.Data then
                            None
                        else
                            Some(dataset run.TrainData (dataOf run.TrainData))
                    Provenance =
                        {
                            Device = options.Device
                            Threads = torch.get_num_threads ()
                            Cpu = Provenance.cpu ()
                            Cores = Environment.ProcessorCount
                            Commit = hash
                            Dirty = dirty
                            Versions = Provenance.versions runtime
                            Started = started
                            Ended = DateTime.UtcNow
                            Starts = starts
                        }
                }

            store.Append record
            Some record

    /// Whether a folder or the disk, and no run, is at fault: every other run would meet the same.
    let rec private isOfTheDisk (error: exn) =
        match error with
        | null
        | :? SslResearch.Core.Data.DataException -> false
        | :? IOException
        | :? UnauthorizedAccessException -> true
        | other -> isOfTheDisk other.InnerException

    let private missingOn present (recipe: Recipe) (options: RunOptions) (stored: StoredRun list) =
        let wanted = tasks recipe options
        wanted, wanted |> List.filter (Contents.isDone present stored >> not)

    /// Run and seed pairs that a recipe asks for under these options, and those of them that its store lacks.
    let missing (recipe: Recipe) (options: RunOptions) (stored: StoredRun list) =
        missingOn (Contents.present options.DataRoot) recipe options stored

    /// Runs everything that a recipe asks for and its store lacks. A finished run is never run again; a run that another
    /// process is busy with is left to it and awaited at the end. One failing run does not keep the others from running.
    let recipe
        (recipe: Recipe)
        (options: RunOptions)
        (reporter: IRunReporter)
        (stop: CancellationToken)
        : ExecuteResult =
        let store = Store(options.Results, recipe.Name)
        let stored = store.Load()

        stored.Torn
        |> Option.iter (fun torn ->
            reporter.Note
                $"{store.Path}: the last line was never finished ({torn.Length} characters); it is ignored and its run is done again.")

        let present = Contents.present options.DataRoot
        let isStored = Contents.isDone present
        let wanted, missing = missingOn present recipe options stored.Runs
        let before = wanted.Length - missing.Length

        for run, seed in missing do
            if
                (Contents.find present stored.Runs (run, seed)).IsNone
                && stored.Runs |> List.exists (fun r -> r.RunId = run.Id && r.Seed = seed)
            then
                reporter.Note
                    $"{run.Title}, seed {seed}, is stored on other images under the name '{Data.name run.Setting.Data}' than are there now; it is run again on these."

        let mutable finished = 0
        let mutable failed = 0
        let mutable interrupted = false

        if not missing.IsEmpty then
            let runtime =
                TorchRuntime.Initialise(Option.toObj options.TorchLibrary, Option.toNullable options.Threads)

            TorchRuntime.Device options.Device |> ignore
            let opened = Dictionary<Data, OpenData>()

            let dataOf data =
                match opened.TryGetValue data with
                | true, splits -> splits
                | _ ->
                    let splits = Datasets.openSplits options.DataRoot data
                    opened[data] <- splits
                    splits

            let lost = HashSet<string * int>()

            let attempt position (run: Run, seed) =
                reporter.Started(run.Title, seed, position, wanted.Length)

                let known =
                    Contents.find present (store.Load().Runs) (run, seed)
                    |> Option.map _.Scores
                    |> Option.defaultValue []

                try
                    match runOne run seed dataOf present store known options runtime reporter stop with
                    | Some record when StoredRun.isComplete record ->
                        finished <- finished + 1
                        reporter.Finished record
                    | Some record ->
                        let reasons =
                            record.Failures
                            |> List.map (fun (protocol, why) -> $"{protocol}: {why}")
                            |> String.concat "; "

                        failed <- failed + 1
                        lost.Add((run.Id, seed)) |> ignore

                        reporter.Failed(
                            run.Title,
                            seed,
                            ResultsException
                                $"not scored by {record.Failures.Length} of {record.Failures.Length + record.Scores.Length} protocols ({reasons}). The other scores are stored; the same command tries these again."
                        )
                    | None -> interrupted <- true
                with
                | :? OperationCanceledException -> interrupted <- true
                | error when isOfTheDisk error ->
                    raise (
                        ResultsException
                            $"{run.Title}, seed {seed}: {error.Message} What was finished before is stored; the same command goes on from there."
                    )
                | error ->
                    failed <- failed + 1
                    lost.Add((run.Id, seed)) |> ignore
                    reporter.Failed(run.Title, seed, error)

            let underLock position (run: Run, seed) =
                match store.TryLock(run.TrainId, seed, ?content = Contents.tag present run) with
                | None -> false
                | Some held ->
                    use _ = held

                    // Another process may have finished it since the store was read.
                    if not (isStored (store.Load().Runs) (run, seed)) then
                        attempt position (run, seed)

                    true

            /// True if the task needs no more attention.
            let settled (position, (run: Run, seed)) =
                let unfinished (needed: Run) =
                    not (isStored (store.Load().Runs) (needed, seed))

                match run.Needs |> List.tryFind (fun needed -> lost.Contains((needed.Id, seed))) with
                | Some needed ->
                    failed <- failed + 1
                    lost.Add((run.Id, seed)) |> ignore

                    reporter.Failed(
                        run.Title,
                        seed,
                        InvalidOperationException $"It builds on {needed.Title}, which failed with this seed."
                    )

                    true
                | None when List.exists unfinished run.Needs -> false
                | None -> underLock position (run, seed)

            let rec pass announced tasks =
                let busy = tasks |> List.filter (fun task -> not interrupted && not (settled task))

                // A stop that comes when all is done interrupts nothing.
                if stop.IsCancellationRequested && not busy.IsEmpty then
                    interrupted <- true

                if not busy.IsEmpty && not interrupted then
                    if not announced then
                        reporter.Note $"{busy.Length} runs are being done by another process; waiting for them."

                    stop.WaitHandle.WaitOne 1000 |> ignore
                    pass true busy

            try
                missing |> List.mapi (fun i task -> before + i + 1, task) |> pass false
            finally
                for splits in opened.Values do
                    (splits :> IDisposable).Dispose()

        {
            Done = finished
            Before = before
            Failed = failed
            Interrupted = interrupted
        }

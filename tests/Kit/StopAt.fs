/// States of a run at which it can be stopped, and a process that stops itself there by a signal:
/// `SslResearch.Tests.dll stop-at STATE SIGNAL RESULTS RUN` trains, scores and renders one run of a recipe as `sslr run` does.
module Tests.Support.StopAt

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Training

/// When a state is there.
type private Moment =
    /// The run has begun, its data is open.
    | Begun
    /// A file of that pattern is below the run's work folder or, for pages, beside the stored runs; of checkpoints one of that step or a later.
    | Checkpoint of folder: string * step: int64
    | HalfWritten
    | Page
    /// The n-th part of the evaluation begins.
    | Scored of int

/// A state by its name.
type State =
    private { Name: string; Moment: Moment }

/// Half of the steps that trainings and fine-tunings of the states' runs have.
let private half = 200L

/// In the order in which a run passes them.
let states =
    [
        "before the first step", Begun
        "before the first report", Checkpoint("", 1L)
        "in training", Checkpoint("", half)
        "while a checkpoint is written", HalfWritten
        "between training and scoring", Scored 1
        "in scoring", Scored 2
        "in fine-tuning, before its first report", Checkpoint("tuned-*", 1L)
        "in fine-tuning", Checkpoint("tuned-*", half)
        "while rendering", Page
    ]
    |> List.map (fun (name, moment) -> { Name = name; Moment = moment })

let name (state: State) = state.Name

type Signal =
    | Kill
    | Terminate
    | Interrupt

    member s.Name =
        match s with
        | Kill -> "SIGKILL"
        | Terminate -> "SIGTERM"
        | Interrupt -> "SIGINT"

    member s.Number =
        match s with
        | Kill -> 9
        | Terminate -> 15
        | Interrupt -> 2

    /// How a process that is stopped by it ends.
    member s.ExitCode =
        match s with
        | Kill -> 137
        | Terminate
        | Interrupt -> ExitCode.Interrupted

/// Long enough that there are checkpoints before the first report: reports come every 2 steps.
let private long (setting: Setting) =
    let images = Data.trainCount setting.Data |> Option.defaultValue 256

    let train (o: Train) =
        { o with
            Epochs = int (2L * half) / (images / o.BatchSize)
        }

    let tuning =
        match FineTune 1 with
        | Tuned o ->
            Tuned
                { o with
                    Train = train { o.Train with BatchSize = 32 }
                }
        | other -> other

    { setting with
        Train = train setting.Train
        Protocols = [ Knn(k = 5, temperature = 0.1); LinearProbe(epochs = 20); tuning ]
    }

/// Every method of the kit in a training that is long enough.
let runs = lazy [ for spec in MethodKit.all.Value -> spec.Name, spec.With long ]

let private recipeOf (run: Run) =
    {
        Name = "stopped"
        Summary = "one run"
        Tables = [ Table.compare "stopped" [ run ] run.Setting.Protocols ]
    }

[<DllImport("libc", EntryPoint = "kill")>]
extern int private sendSignal(int pid, int signal)

let private raiseIn (signal: Signal) (stop: CancellationToken) =
    sendSignal (Environment.ProcessId, signal.Number) |> ignore
    // The handler is another thread's; the state lasts until it has asked to stop.
    stop.WaitHandle.WaitOne 10_000 |> ignore

let private stepOf (path: string) =
    let _, step = Int64.TryParse((nonNull (Path.GetFileNameWithoutExtension path)).Replace("step-", ""))

    step

/// Whether a file that tells the state is there.
let private there results work moment =
    let files folder (pattern: string) =
        if Directory.Exists folder then
            Directory.GetFiles(folder, pattern)
        else
            [||]

    match moment with
    | HalfWritten -> files work "step-*.tmp" <> [||]
    | Page -> files (Path.Combine(results, "stopped")) "*.tmp" <> [||]
    | Checkpoint("", step) -> files work "step-*.safetensors" |> Array.exists (fun f -> stepOf f >= step)
    | Checkpoint(folder, step) ->
        Directory.Exists work
        && Directory.GetDirectories(work, folder)
           |> Array.exists (fun f -> files f "step-*.safetensors" |> Array.exists (fun f -> stepOf f >= step))
    | Begun
    | Scored _ -> false

/// The child: the exit code of `sslr run` under the same circumstances.
let child (arguments: string list) =
    match arguments with
    | [ state; signal; results; name ] ->
        let run = runs.Value |> List.find (fst >> (=) name) |> snd
        let recipe = recipeOf run
        let state = states |> List.tryFind (fun s -> s.Name = state)

        let signal =
            [ Kill; Terminate; Interrupt ]
            |> List.tryFind (fun s -> s.Name = signal)
            |> Option.defaultValue Kill

        let options =
            {
                Results = results
                DataRoot = DataRoot.Resolve null
                Device = "cpu"
                Threads = Some 1
                Workers = 1
                TorchLibrary = None
                CheckpointEvery = 1
                Only = Some run.Id
                Seeds = Some [ 0 ]
            }

        let work = Store(results, recipe.Name).WorkFolder(run.TrainId, 0)
        let mutable scored = 0

        let result =
            CommandLine.withSignals (fun stop ->
                let watched =
                    new Thread(fun () ->
                        match state with
                        | Some { Moment = moment } ->
                            while not (there results work moment) do
                                Thread.Yield() |> ignore

                            raiseIn signal stop
                        | None -> ())

                match state with
                | Some { Moment = Checkpoint _ | HalfWritten } ->
                    watched.IsBackground <- true
                    watched.Start()
                | _ -> ()

                let at moment =
                    if state |> Option.exists (fun s -> s.Moment = moment) then
                        raiseIn signal stop

                // Again and again until the thread has seen a half-written page: one rendering can be shorter than its turn to run.
                let render () =
                    if state |> Option.exists (fun s -> s.Moment = Page) then
                        watched.IsBackground <- true
                        watched.Start()
                        let clock = Stopwatch.StartNew()

                        // What is as it was isn't written again.
                        while not stop.IsCancellationRequested && clock.Elapsed.TotalSeconds < 60. do
                            for page in Directory.GetFiles(Path.Combine(results, recipe.Name), "report.*") do
                                File.Delete page

                            Report.render results recipe |> ignore
                    else
                        Report.render results recipe |> ignore

                let inner = Progress.lines Console.Out.WriteLine

                { new IRunReporter with
                    member _.Started(title, seed, position, total) =
                        inner.Started(title, seed, position, total)

                        if title = run.Title then
                            at Begun

                    member _.Step report = inner.Step report

                    member _.Scoring what =
                        scored <- scored + 1
                        inner.Scoring what
                        at (Scored scored)

                    member _.Finished record =
                        if record.RunId = run.Id then
                            render ()

                        inner.Finished record

                    member _.Failed(title, seed, error) = inner.Failed(title, seed, error)
                    member _.Note text = inner.Note text
                }
                |> fun reporter -> Execute.recipe recipe options reporter stop)

        if result.Interrupted then
            ExitCode.Interrupted
        elif result.Failed > 0 then
            ExitCode.Failure
        else
            Report.render results recipe |> ignore
            ExitCode.Success
    | _ ->
        eprintfn "usage: stop-at STATE SIGNAL RESULTS RUN"
        ExitCode.WrongUsage

/// Whether SIGINT does nothing to this process and its children, as in the background of a shell without job control.
let interruptIsIgnored () =
    File.ReadLines "/proc/self/status"
    |> Seq.tryFind (fun line -> line.StartsWith "SigIgn:")
    |> Option.exists (fun line -> Convert.ToUInt64(line.Substring(7).Trim(), 16) &&& 2UL <> 0UL)

/// Runs the child to its end; without a state it is not stopped. Exit code and everything it printed.
let run (results: string) (name: string) (stop: (State * Signal) option) =
    let info =
        ProcessStartInfo(nonNull Environment.ProcessPath, RedirectStandardOutput = true, RedirectStandardError = true)

    if (nonNull Environment.ProcessPath).EndsWith "dotnet" then
        info.ArgumentList.Add(Reflection.Assembly.GetExecutingAssembly().Location)

    let state, signal =
        match stop with
        | Some(state, signal) -> state.Name, signal.Name
        | None -> "none", "none"

    for word in [ "stop-at"; state; signal; results; name ] do
        info.ArgumentList.Add word

    use child = nonNull (Process.Start info)
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEndAsync()
    child.WaitForExit()
    child.ExitCode, output.Result + errors.Result

/// Everything of a finished run that must not depend on stops: weights, metrics and scores, of fine-tuning too.
let outcome (results: string) (name: string) =
    let run = runs.Value |> List.find (fst >> (=) name) |> snd
    let store = Store(results, "stopped")
    let record = store.Load().Runs |> List.find (fun r -> r.RunId = run.Id)
    let work = store.WorkFolder(run.TrainId, 0)

    [
        for folder in
            work
            :: (Directory.GetDirectories(work, "tuned-*") |> Array.sort |> Array.toList) do
            let checkpoint = Directory.GetFiles(folder, "step-*.safetensors") |> Array.max
            use file = SafetensorsFile.Open checkpoint
            Path.GetFileName folder, file.DataHash(), File.ReadAllText(Path.Combine(folder, "metrics.jsonl"))
        for score in record.Scores do
            score.Protocol, score.Value.ToString("R", Globalization.CultureInfo.InvariantCulture), ""
    ]

/// Half-written files that a stop left and nobody removed.
let leftovers (results: string) =
    Directory.GetFiles(results, "*.tmp", SearchOption.AllDirectories)
    |> Array.toList

/// Whether the state itself was met, as far as what is left tells it: a thread that looks for a file can come too late.
let private isMet (results: string) (name: string) (state: State) (signal: Signal) =
    let run = runs.Value |> List.find (fst >> (=) name) |> snd
    let store = Store(results, "stopped")
    let work = store.WorkFolder(run.TrainId, 0)

    match state.Moment, signal with
    | Checkpoint("", 1L), _ ->
        use file = SafetensorsFile.Open(Directory.GetFiles(work, "step-*.safetensors") |> Array.max)
        file.Entries["history"].Shape[0] = 0L
    | HalfWritten, Kill -> Directory.GetFiles(work, "*.tmp") <> [||]
    | Page, Kill ->
        Directory.GetFiles(store.Folder, "*.tmp") <> [||]
        || not (File.Exists(Path.Combine(store.Folder, "report.html")))
    | _ -> true

/// One run stopped at each state in turn and gone on with to its end.
type Chain =
    {
        /// What went wrong, by state.
        Faults: (string * string) list
        /// States that were passed before the signal came.
        Late: string list
    }

let chain (results: string) (name: string) (signal: Signal) whole : Chain =
    let stops =
        [
            for state in states do
                let code, output = run results name (Some(state, signal))

                // A page that is asked to stop is finished, and then nothing is left to do.
                let expected =
                    match state.Moment, signal with
                    | Page, Terminate
                    | Page, Interrupt -> ExitCode.Success
                    | _ -> signal.ExitCode

                if code <> expected then
                    state.Name, Some $"ended with {code}, not {expected}: {output}"
                elif not (isMet results name state signal) then
                    state.Name, None
        ]

    let code, output = run results name None

    {
        Late =
            [
                for state, fault in stops do
                    if fault.IsNone then
                        state
            ]
        Faults =
            [
                for state, fault in stops do
                    match fault with
                    | Some fault -> state, fault
                    | None -> ()

                if code <> 0 then
                    "the end", $"ended with {code}: {output}"
                else
                    if outcome results name <> whole then
                        "the end", "other weights, metrics or scores than without stops"

                    for left in leftovers results do
                        "the end", $"left over: {left}"
            ]
    }

/// Memory over a long training: `./build.sh Campaign memory [STEPS]`; see `docs/campaigns/memory.md`.
module Tests.Campaigns.Memory

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Threading.Tasks
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Training
open TorchSharp
open Tests.Support

/// A method that makes two views, one that makes crops of several sizes beside a teacher, one that hides patches.
let private methods = [ "SimCLR"; "DINO"; "MAE" ]

let private whole = 100_000L

/// Steps come in whole epochs of 32, and each mark is at one of the 200 reports.
let private unit = 800L

/// Steps at which memory is read, as divisors of all steps.
let private marks = [ 20L; 4L; 2L; 1L ]

/// Largest difference of the resident set between the first mark and the last, as a part of the first.
let private bound = 0.02

/// One reading: after `Step` steps, memory in KiB.
type private Reading =
    {
        Step: int64
        Resident: int64
        /// What .NET's collector has taken from the system.
        Managed: int64
        /// What native code holds, tensors included.
        Native: int64
        Tensors: int64
    }

let private resident () =
    let line =
        File.ReadLines "/proc/self/status"
        |> Seq.find _.StartsWith("VmRSS:", StringComparison.Ordinal)

    Int64.Parse(line["VmRSS:".Length ..].Replace("kB", "").Trim(), CultureInfo.InvariantCulture)

let private read step =
    {
        Step = step
        Resident = resident ()
        Managed = GC.GetGCMemoryInfo().TotalCommittedBytes / 1024L
        Native = (NativeHeap.inUse () |> Option.defaultValue 0L) / 1024L
        Tensors = torch.Tensor.TotalCount
    }

/// A step of a millisecond or two: what is looked for is lost per step, however small the step.
let private tiny steps (setting: Setting) =
    let batch = 8
    let images = 256

    { setting with
        Data =
            Shapes
                {
                    Train = images
                    Test = 64
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Train =
            { setting.Train with
                Epochs = int steps / (images / batch)
                BatchSize = batch
            }
    }

/// One training in this process; its readings, a line each.
let private train (name: string) (steps: int64) =
    let spec = MethodKit.all.Value |> List.find (fun s -> s.Name = name)
    let run = spec.With(tiny steps)
    let folder = Directory.CreateTempSubdirectory "sslr-memory-"
    use data = (Datasets.openSplits (DataRoot.Resolve null) run.TrainData).Train
    let mutable left = marks |> List.map (fun part -> steps / part)
    torch.set_num_threads 1

    use trained =
        run.Train
            {
                Train = data
                Seed = 1UL
                Device = "cpu"
                Workers = 1
                CheckpointEvery = int steps / 100
                StopAtCollapse = false
                Folder = folder.FullName
                Progress =
                    { new IProgress<StepReport> with
                        member _.Report r =
                            match left with
                            | mark :: rest when r.Step >= mark ->
                                left <- rest
                                let now = read r.Step
                                printfn $"{now.Step} {now.Resident} {now.Managed} {now.Native} {now.Tensors}"
                            | _ -> ()
                    }
                Stop = Threading.CancellationToken.None
                Trained = fun _ -> invalidOp "these methods build on no other run"
            }

    folder.Delete true
    0

/// The training in a process of its own: its readings, or what it said instead.
let private study (steps: int64) (name: string) =
    let info =
        ProcessStartInfo(nonNull Environment.ProcessPath, RedirectStandardOutput = true, RedirectStandardError = true)

    if (nonNull Environment.ProcessPath).EndsWith("dotnet", StringComparison.Ordinal) then
        info.ArgumentList.Add(Reflection.Assembly.GetExecutingAssembly().Location)

    for word in [ "campaign"; "memory-of"; name; string steps ] do
        info.ArgumentList.Add word

    use child = nonNull (Process.Start info)
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEndAsync()
    child.WaitForExit()

    let readings =
        [
            for line in output.Result.Split('\n', StringSplitOptions.RemoveEmptyEntries) do
                match
                    line.Split ' '
                    |> Array.map (fun n -> Int64.Parse(n, CultureInfo.InvariantCulture))
                with
                | [| step; resident; managed; native; tensors |] ->
                    {
                        Step = step
                        Resident = resident
                        Managed = managed
                        Native = native
                        Tensors = tensors
                    }
                | _ -> ()
        ]

    if child.ExitCode = 0 && readings.Length = marks.Length then
        Ok readings
    else
        Error(output.Result + errors.Result)

let private mebibytes (kibibytes: int64) =
    (float kibibytes / 1024.).ToString("F1", CultureInfo.InvariantCulture)

/// Difference of the last reading from the first, in per cent of the first.
let private growth (readings: Reading list) =
    let first, last = readings[0].Resident, (List.last readings).Resident
    100. * (float last / float first - 1.)

/// Runs the campaign and writes its page. The exit code: 0 where nothing was found.
let run (steps: int64) =
    let clock = Stopwatch.StartNew()
    let results = Array.zeroCreate methods.Length

    Parallel.For(
        0,
        methods.Length,
        ParallelOptions(MaxDegreeOfParallelism = Environment.ProcessorCount),
        fun i -> results[i] <- study steps methods[i]
    )
    |> ignore

    let minutes = clock.Elapsed.TotalMinutes.ToString("F1", CultureInfo.InvariantCulture)

    let found =
        function
        | Ok readings ->
            abs (growth readings) > 100. * bound
            || (List.last readings).Tensors > readings[0].Tensors
        | Error(_: string) -> true

    let rows =
        [
            for name, result in List.zip methods (List.ofArray results) do
                match result with
                | Ok readings ->
                    [
                        name
                        yield! readings |> List.map (fun r -> $"{mebibytes r.Resident} ({r.Tensors})")
                        (growth readings).ToString("+0.0;-0.0;0.0", CultureInfo.InvariantCulture) + " %"
                    ]
                | Error output ->
                    eprintfn $"{name}: {output}"
                    [ name; yield! marks |> List.map (fun _ -> "failed"); "failed" ]
        ]

    for name, result in Seq.zip methods results do
        match result with
        | Ok readings ->
            for r in readings do
                eprintfn
                    $"{name}, step {r.Step}: resident {mebibytes r.Resident}, managed {mebibytes r.Managed}, native {mebibytes r.Native} MiB, {r.Tensors} tensors"
        | Error _ -> ()

    let faults = results |> Seq.filter found |> Seq.length
    let percent = (100. * bound).ToString("0", CultureInfo.InvariantCulture)

    CampaignPage.publish
        (steps = whole)
        {
            Name = "memory"
            Title = "Memory over a long training"
            Intro =
                "Each method is trained on small images in a process of its own, with reports and checkpoints as in any run. Resident memory (VmRSS) in MiB, and in brackets the number of live tensors, after that many steps; the last column is the change of resident memory from the first reading to the last."
            Header =
                [
                    "method"
                    yield!
                        marks
                        |> List.map (fun part -> (steps / part).ToString("N0", CultureInfo.InvariantCulture))
                    "change"
                ]
            Rows = rows
            Notes =
                [
                    $"Found is a change of more than {percent} %% up or down, or more tensors at the end than at the first reading."
                    $"{faults} found in {methods.Length} trainings, {minutes} minutes."
                ]
        }

    if faults = 0 then 0 else 1

let main (arguments: string list) =
    let steps (text: string) =
        match Int64.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture) with
        | true, n when n > 0L && n <= 10_000_000L && n % unit = 0L -> Some n
        | _ -> None

    match arguments with
    | [ "memory" ] -> run whole
    | [ "memory"; text ] when (steps text).IsSome -> run (steps text).Value
    | [ "memory-of"; name; text ] when List.contains name methods && (steps text).IsSome ->
        train name (steps text).Value
    | _ ->
        eprintfn $"usage: campaign memory [STEPS], where STEPS is a multiple of {unit}"
        2

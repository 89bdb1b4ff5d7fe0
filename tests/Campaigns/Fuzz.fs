/// Damaged inputs of every kind that the program reads, thousands of them: `./build.sh Campaign fuzz [INPUTS] [--seed N]`.
/// A child process does the reading, so that the parent sees crashes, hangs and memory; its page is `docs/campaigns/fuzz.md`.
module Tests.Campaigns.Fuzz

open System
open System.Collections.Generic
open System.Diagnostics
open System.Globalization
open System.IO
open System.Text
open System.Threading
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.Core.Training
open Tests.Support
open Tests.Support.DataFiles
open TorchSharp

/// An input may take this long, in seconds.
let longest = 10.

/// Resident memory that reading one input may need, in MiB: what imports promise, and the libraries themselves.
let mostMemory = 1536L

/// Inputs of a campaign whose page is kept.
let wholeCampaign = 10_000

/// Faults of one kind of input that are told at once; all are counted.
let private told = 5

/// What a reader made of an input.
type Outcome =
    | Accepted
    | Refused of message: string

/// A kind of input.
[<NoEquality; NoComparison>]
type Target =
    {
        Name: string
        /// Whole inputs, by file name.
        Seeds: (string * byte[])[]
        /// Reads the file of that name in an empty folder. Throws where the reader breaks a promise.
        Read: string -> string -> Outcome
    }

exception Broken of string

let private broken text = raise (Broken text)

/// The errors that a reader of data may end with, each one line that says something.
let private refusing (read: unit -> unit) =
    try
        read ()
        Accepted
    with
    | :? DataException
    | :? SafetensorsException
    | :? TrainException
    | :? ResultsException as e ->
        if String.IsNullOrWhiteSpace e.Message || e.Message.Contains '\n' then
            broken $"the message is no line: '{e.Message}'"

        Refused e.Message

// ---- Images in archives, folders and alone

let private pictures =
    lazy
        (let side = 24

         let encoded (format: SkiaSharp.SKEncodedImageFormat) =
             use bitmap = new SkiaSharp.SKBitmap(side, side)

             for y in 0 .. side - 1 do
                 for x in 0 .. side - 1 do
                     bitmap.SetPixel(x, y, SkiaSharp.SKColor(byte (x * 9), byte (y * 9), byte (x * y), 255uy))

             use data = bitmap.Encode(format, 80)
             data.ToArray()

         [
             "a.jpg", encoded SkiaSharp.SKEncodedImageFormat.Jpeg
             "a.png", encoded SkiaSharp.SKEncodedImageFormat.Png
             "a.webp", encoded SkiaSharp.SKEncodedImageFormat.Webp
         ])

let private source = smallSet 8

let private made (name: string) (make: string -> unit) =
    withFolder (fun folder ->
        let path = Path.Combine(folder, name)
        make path
        name, File.ReadAllBytes path)

/// An import of one file; whatever comes of it, nothing but whole packs may be left.
let private imports options (folder: string) (name: string) =
    let root = Path.Combine(folder, "data")

    let outcome = refusing (fun () -> importTo root (Path.Combine(folder, name)) options |> ignore)

    let left = filesBelow root

    match outcome with
    | Refused _ when left.Length > 0 ->
        let names = String.concat ", " left
        broken $"left over: {names}"
    | Accepted ->
        for split in [ "train"; "test" ] do
            if File.Exists(Path.Combine(root, "small", split + ".sslpack")) then
                DatasetCatalogue.Verify(root, "small", split) |> ignore
    | _ -> ()

    if
        filesBelow folder
        |> Array.exists (fun f -> f <> name && not (f.StartsWith "data/"))
    then
        broken "files beside the source are left over"

    outcome

/// A class folder that holds the one picture.
let private importsPicture options (folder: string) (name: string) =
    let inside = Path.Combine(folder, "source", "train", "class")
    Directory.CreateDirectory inside |> ignore
    File.Move(Path.Combine(folder, name), Path.Combine(inside, name))
    let root = Path.Combine(folder, "data")

    let outcome = refusing (fun () -> importTo root (Path.Combine(folder, "source")) options |> ignore)

    match outcome with
    | Refused message when not (message.Contains name) -> broken $"the message does not name the file: {message}"
    | Refused _ when (filesBelow root).Length > 0 -> broken "files are left over"
    | _ -> outcome

let private idxFile (count: int) =
    idx [ count; 5; 4 ] (Array.init (count * 20) byte)

let private labelFile (count: int) =
    idx [ count ] (Array.init count (fun i -> byte (i % 3)))

/// The mutated file beside the three that are whole.
let private importsIdx (folder: string) (name: string) =
    let whole =
        [
            "train-images-idx3-ubyte", idxFile 6
            "train-labels-idx1-ubyte", labelFile 6
            "t10k-images-idx3-ubyte", idxFile 3
            "t10k-labels-idx1-ubyte", labelFile 3
        ]

    let inside = Path.Combine(folder, "source")
    Directory.CreateDirectory inside |> ignore

    for file, content in whole do
        if not (name.StartsWith file) then
            File.WriteAllBytes(Path.Combine(inside, file), content)

    File.Move(Path.Combine(folder, name), Path.Combine(inside, name))
    let root = Path.Combine(folder, "data")
    let outcome = refusing (fun () -> importTo root inside plain |> ignore)

    match outcome with
    | Refused _ when (filesBelow root).Length > 0 -> broken "files are left over"
    | _ -> outcome

// ---- Packs

let private reads (folder: string) (name: string) =
    let root = Path.Combine(folder, "data")
    let inside = Path.Combine(root, "small")
    Directory.CreateDirectory inside |> ignore
    let path = Path.Combine(inside, "train.sslpack")
    File.Move(Path.Combine(folder, name), path)

    let outcome =
        refusing (fun () ->
            use store = DatasetCatalogue.Open(root, "small", "train")
            let mutable sum = 0L

            for i in 0 .. store.Count - 1 do
                sum <- sum + int64 (store.Label i) + int64 (store.Pixels i).Length)

    // Opening reads the header alone; a pack that is verified is whole.
    match refusing (fun () -> DatasetCatalogue.Verify(root, "small", "train") |> ignore) with
    | Accepted ->
        use store = DatasetCatalogue.Open(root, "small", "train")

        if store.ComputeFingerprint() <> store.Fingerprint then
            broken "verified, though its content is not what its fingerprint says"
    | Refused _ -> ()

    outcome

let private packFile =
    lazy
        (withFolder (fun folder ->
            let source = writeFolder (Path.Combine(folder, "source")) source
            importTo (Path.Combine(folder, "data")) source plain |> ignore
            File.ReadAllBytes(Path.Combine(folder, "data", "small", "train.sslpack"))))

// ---- Safetensors and checkpoints

let private safetensors =
    lazy
        (made "a.safetensors" (fun path ->
            use scope = torch.NewDisposeScope()

            Safetensors.Write(
                path,
                dict
                    [
                        "weights", (torch.arange (24L.ToScalar(), dtype = torch.float32)).reshape(2L, 3L, 4L)
                        "steps", torch.tensor [| 1L; 2L; 3L |]
                        "empty", torch.zeros ([| 0L; 9L |], torch.float64)
                        "mask", torch.tensor [| true; false |]
                    ],
                dict [ "format", "sample" ] |> Dictionary
            )))

let private readsTensors (folder: string) (name: string) =
    refusing (fun () ->
        use scope = torch.NewDisposeScope()
        use file = SafetensorsFile.Open(Path.Combine(folder, name))

        for entry in file.Entries.Keys do
            file.Read entry |> ignore)

let private tiny =
    lazy
        (Run.ofExperiment
            { Samples.simclr with
                Setting =
                    { MethodKit.setting with
                        Data =
                            Shapes
                                {
                                    Train = 64
                                    Test = 16
                                    Size = 16
                                    Seed = 5UL
                                    Statistics = Independent
                                }
                        Train =
                            { MethodKit.setting.Train with
                                Epochs = 1
                                BatchSize = 32
                            }
                    }
                Augment = twoViews MethodKit.view
            })

let private opened = lazy (Datasets.openSplits (DataRoot.Resolve null) tiny.Value.Setting.Data)

/// Trains the tiny run in a folder, two steps with a checkpoint after each.
let private trains (folder: string) =
    use encoder =
        tiny.Value.Train
            {
                Train = opened.Value.Train
                Seed = 3UL
                Device = "cpu"
                Workers = 1
                CheckpointEvery = 1
                StopAtCollapse = false
                Folder = folder
                Progress =
                    { new IProgress<StepReport> with
                        member _.Report _ = ()
                    }
                Stop = CancellationToken.None
                Trained = fun _ -> invalidOp "it builds on no run"
            }

    ignore encoder

/// Both checkpoints of the tiny run.
let private checkpoints =
    lazy
        (withFolder (fun folder ->
            trains folder

            [|
                for step in [ 1L; 2L ] -> File.ReadAllBytes(CheckpointFile.PathOf(folder, step))
            |]))

let private weights (path: string) =
    use scope = torch.NewDisposeScope()
    use file = SafetensorsFile.Open path
    file.DataHash()

let private reference =
    lazy
        (withFolder (fun folder ->
            let path = Path.Combine(folder, "whole")
            File.WriteAllBytes(path, checkpoints.Value[1])
            weights path))

/// A damaged newest checkpoint beside an intact older one: the training goes on from that and ends with the same bits.
let private continues (folder: string) (name: string) =
    let work = Path.Combine(folder, "work")
    Directory.CreateDirectory work |> ignore
    File.WriteAllBytes(CheckpointFile.PathOf(work, 1L), checkpoints.Value[0])
    File.Move(Path.Combine(folder, name), CheckpointFile.PathOf(work, 2L))
    trains work

    if weights (CheckpointFile.PathOf(work, 2L)) <> reference.Value then
        broken "the training went on to other weights"

    Accepted

// ---- Stored runs

let private stored =
    lazy
        (withFolder (fun folder ->
            let store = Store(folder, "recipe")
            let run = Run.ofExperiment Samples.simclr

            for seed in 0..2 do
                store.Append(Samples.stored run seed [ Samples.knn, 60.25 + float seed; Samples.probe, 61.5 ])

            File.ReadAllBytes store.Path, store.Load().Runs |> List.map (sprintf "%A")))

/// Whatever is read from a damaged file was written so; and what was written whole is still there after the next append.
let private loads (folder: string) (name: string) =
    let store = Store(folder, "recipe")
    Directory.CreateDirectory store.Folder |> ignore
    File.Move(Path.Combine(folder, name), store.Path)
    let known = snd stored.Value |> Set.ofList

    let check () =
        for run in store.Load().Runs do
            if not (known.Contains(sprintf "%A" run)) then
                broken $"read a run that was never written so: seed {run.Seed}"

    let before = File.ReadAllBytes store.Path

    let outcome =
        refusing (fun () ->
            check ()
            let run = Run.ofExperiment Samples.simclr
            let added = Samples.stored run 0 [ Samples.knn, 60.25; Samples.probe, 61.5 ]
            store.Append added
            check ())

    match outcome with
    | Refused _ when File.ReadAllBytes store.Path <> before -> broken "a refused file was changed"
    | Refused message when not (message.Contains store.Path) -> broken $"the message does not name the file: {message}"
    | _ -> ()

    let whole = Array.LastIndexOf(before, 10uy) + 1

    if not ((File.ReadAllBytes store.Path).AsSpan().StartsWith(before.AsSpan(0, whole))) then
        broken "a whole line was removed"

    outcome

// ---- All kinds

let private targets =
    lazy
        [
            {
                Name = "checkpoint beside an intact older one"
                Seeds = [| "newest", checkpoints.Value[1] |]
                Read = continues
            }
            {
                Name = "safetensors"
                Seeds = [| safetensors.Value |]
                Read = readsTensors
            }
            {
                Name = "pack of images"
                Seeds = [| "pack", packFile.Value |]
                Read = reads
            }
            {
                Name = "stored runs"
                Seeds = [| "runs", fst stored.Value |]
                Read = loads
            }
            {
                Name = "zip of images"
                Seeds = [| made "a.zip" (fun p -> zipFile p source |> ignore) |]
                Read = imports plain
            }
            {
                Name = "tar of images"
                Seeds = [| made "a.tar" (fun p -> tarFile p source |> ignore) |]
                Read = imports plain
            }
            {
                Name = "tar.gz of images"
                Seeds = [| made "a.tar.gz" (fun p -> tarGzFile p source |> ignore) |]
                Read = imports plain
            }
            {
                Name = "idx"
                Seeds =
                    [|
                        "train-images-idx3-ubyte", idxFile 6
                        "t10k-labels-idx1-ubyte", labelFile 3
                        "train-images-idx3-ubyte.gz", gzip (idxFile 6)
                        "train-labels-idx1-ubyte.gz", gzip (labelFile 6)
                    |]
                Read = importsIdx
            }
            {
                Name = "image"
                Seeds = Array.ofList pictures.Value
                Read = importsPicture plain
            }
            {
                Name = "image, resized"
                Seeds = Array.ofList pictures.Value
                Read =
                    importsPicture (
                        ImportOptions(null, ResizeRule.ShorterSideThenCentreCrop 8, Nullable(), false, null)
                    )
            }
        ]

// ---- The child: reads inputs and says before each which, after each what came of it

let private memory (reset: bool) =
    if reset then
        GC.Collect()
        File.WriteAllText("/proc/self/clear_refs", "5")

    File.ReadLines "/proc/self/status"
    |> Seq.find (fun line -> line.StartsWith("VmHWM:", StringComparison.Ordinal))
    |> fun line ->
        Int64.Parse(line.Substring(6).Replace("kB", "").Trim(), CultureInfo.InvariantCulture)
        / 1024L

/// The input of a number: its target, its file name and its bytes, the same at every call.
let private input (seed: uint64) (number: int) =
    let all = targets.Value
    let target = all[number % all.Length]
    let turn = number / all.Length
    let name, whole = target.Seeds[turn % target.Seeds.Length]
    target, name, Mutants.mutate (seed + uint64 number * 1000003UL) whole

let private child (seed: uint64) (first: int) (count: int) =
    let out = Console.Out

    for number in first .. count - 1 do
        let target, name, bytes = input seed number
        memory true |> ignore
        out.WriteLine $"begin {number}"
        out.Flush()
        let clock = Stopwatch.StartNew()

        let result =
            try
                withFolder (fun folder ->
                    File.WriteAllBytes(Path.Combine(folder, name), bytes)

                    match target.Read folder name with
                    | Accepted -> "accepted"
                    | Refused message -> $"refused {message}")
            with e ->
                let text = (string e).Replace('\n', '\t')
                $"broken {text}"

        out.WriteLine $"end {number} {clock.Elapsed.TotalSeconds:F3} {memory false} {result}"
        out.Flush()

    0

// ---- The parent

type private Tally() =
    member val Inputs = 0 with get, set
    member val Accepted = 0 with get, set
    member val Refused = 0 with get, set
    member val Slowest = 0. with get, set
    member val Memory = 0L with get, set
    member val Faults: ResizeArray<string> = ResizeArray() with get

let private start (seed: uint64) first count =
    let info =
        ProcessStartInfo(nonNull Environment.ProcessPath, RedirectStandardOutput = true, RedirectStandardError = true)

    if (nonNull Environment.ProcessPath).EndsWith "dotnet" then
        info.ArgumentList.Add(Reflection.Assembly.GetExecutingAssembly().Location)

    for word in [ "campaign"; "fuzz-child"; string seed; string first; string count ] do
        info.ArgumentList.Add word

    nonNull (Process.Start info)

/// Runs the campaign and writes its page. Yields the exit code: 0 where nothing was found.
let run (seed: uint64) (count: int) =
    let all = targets.Value
    let tallies = all |> List.map (fun t -> t.Name, Tally()) |> dict
    let tallyOf number = tallies[all[number % all.Length].Name]
    let mutable next = 0
    let clock = Stopwatch.StartNew()

    let fault number text =
        (tallyOf number).Faults.Add text
        let target, name, bytes = input seed number

        if (tallyOf number).Faults.Count <= told then
            eprintfn $"input {number} ({target.Name}): {text}"

        let kept = Repository.path $"out/fuzz/{number}-{name}"
        Directory.CreateDirectory(nonNull (Path.GetDirectoryName kept)) |> ignore
        File.WriteAllBytes(kept, bytes)

    while next < count do
        use child = start seed next count
        let errors = child.StandardError.ReadToEndAsync()
        let mutable running = None
        let mutable reading = true

        while reading do
            let line = child.StandardOutput.ReadLineAsync()
            // Preparing the first input takes a training.
            let patience = if running.IsSome then longest + 5. else 120.

            if not (line.Wait(TimeSpan.FromSeconds patience)) then
                child.Kill true
                child.WaitForExit()
                reading <- false

                match running with
                | Some number ->
                    fault number $"took more than {longest} s"
                    (tallyOf number).Inputs <- (tallyOf number).Inputs + 1
                    next <- number + 1
                | None -> failwith "the child says nothing"
            else
                match line.Result with
                | null ->
                    child.WaitForExit()
                    reading <- false

                    match running with
                    | Some number ->
                        fault number $"the process ended with {child.ExitCode}: {errors.Result.Trim()}"
                        (tallyOf number).Inputs <- (tallyOf number).Inputs + 1
                        next <- number + 1
                    | None when next < count -> failwith $"the child ended with {child.ExitCode}: {errors.Result}"
                    | None -> ()
                | text ->
                    match text.Split(' ', 6) with
                    | [| "begin"; number |] -> running <- Some(int number)
                    | parts when parts[0] = "end" ->
                        let number, seconds, peak =
                            int parts[1], Double.Parse(parts[2], CultureInfo.InvariantCulture), int64 parts[3]

                        let tally = tallyOf number
                        tally.Inputs <- tally.Inputs + 1
                        tally.Slowest <- max tally.Slowest seconds
                        tally.Memory <- max tally.Memory peak

                        match parts[4] with
                        | "accepted" -> tally.Accepted <- tally.Accepted + 1
                        | "refused" -> tally.Refused <- tally.Refused + 1
                        | _ -> fault number (String.concat " " parts[5..])

                        if seconds > longest then
                            fault number $"took {seconds} s"

                        if peak > mostMemory then
                            fault number $"took {peak} MiB"

                        running <- None
                        next <- number + 1

                        if next % 500 = 0 then
                            eprintfn $"{next} of {count} inputs, {clock.Elapsed.TotalMinutes:F1} min"
                    | _ -> ()

    let rows =
        [
            for target in all do
                let tally = tallies[target.Name]

                [
                    target.Name
                    string tally.Inputs
                    string tally.Accepted
                    string tally.Refused
                    string tally.Faults.Count
                    tally.Slowest.ToString("F2", CultureInfo.InvariantCulture)
                    string tally.Memory
                ]
        ]

    let faults = tallies.Values |> Seq.sumBy _.Faults.Count
    let minutes = clock.Elapsed.TotalMinutes.ToString("F1", CultureInfo.InvariantCulture)

    CampaignPage.publish
        (count >= wholeCampaign)
        {
            Name = "fuzz"
            Title = "Damaged inputs"
            Intro =
                "Each input is a whole file with bits, bytes, lengths or parts changed, cut off, doubled or swapped, drawn from a seed, and read by the program's own reader in a process that is watched. Found are crashes, hangs, other errors than the one line a person is to read, files left over, memory above the bound, and anything that was read as what it never was."
            Header =
                [
                    "input"
                    "inputs"
                    "accepted"
                    "refused"
                    "found"
                    "slowest, s"
                    "most memory, MiB"
                ]
            Rows = rows
            Notes =
                [
                    "Accepted is an input whose change does not matter or cannot be seen (a comment, a pixel); of packs, what opens: a changed pixel is found by `data verify`. Checkpoints are accepted where the training goes on from the older one to the same weights."
                    $"Bounds: {longest} s and {mostMemory} MiB of resident memory for an input, .NET and libtorch included."
                    $"Seed {seed}, {count} inputs, {minutes} minutes."
                ]
        }

    if faults = 0 then 0 else 1

/// `fuzz [INPUTS] [--seed N]`, or the child that the campaign starts.
let main (arguments: string list) =
    match arguments with
    | [ "fuzz-child"; seed; first; count ] -> child (uint64 seed) (int first) (int count)
    | [ "fuzz" ] -> run 1UL wholeCampaign
    | [ "fuzz"; count ] -> run 1UL (int count)
    | [ "fuzz"; count; "--seed"; seed ] -> run (uint64 seed) (int count)
    | _ ->
        eprintfn "usage: campaign fuzz [INPUTS] [--seed N]"
        2

module Tests.Framework.FullDiskTests

open System
open System.IO
open System.Text.Json
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Training
open Tests.Support

let private mount (arguments: string list) =
    Repository.run (Path.GetTempPath()) "mount" arguments

/// A disk of its own in memory; skips where this process may not mount one.
let private onDisk (kibibytes: int) (body: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-disk-"

    try
        let mounted =
            try
                (mount [ "-t"; "tmpfs"; "-o"; $"size={kibibytes}k"; "none"; folder.FullName ]).Code = 0
            with :? ComponentModel.Win32Exception ->
                false

        if not mounted then
            skiptest "skipped: this user cannot mount a file system"

        try
            body folder.FullName
        finally
            Repository.run (Path.GetTempPath()) "umount" [ "-l"; folder.FullName ] |> ignore
    finally
        folder.Delete true

/// Takes all space of a disk but `free` bytes.
let private fill (disk: string) (free: int64) =
    let path = Path.Combine(disk, "filler")
    use stream = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 0)
    let block = Array.zeroCreate<byte> 4096

    try
        while true do
            stream.Write block
    with :? IOException ->
        ()

    stream.SetLength(max 0L (stream.Length - free))

let private emptied (disk: string) =
    File.Delete(Path.Combine(disk, "filler"))

let private run = lazy (MethodKit.all.Value |> List.find (fun spec -> spec.Name = "SimCLR") |> _.Run)

let private images = lazy (Datasets.openSplits (DataRoot.Resolve null) run.Value.TrainData).Train

/// Trains to the end, a checkpoint every 4 steps; `at` is told each step.
let private train (folder: string) (stop: CancellationToken) (at: int64 -> unit) =
    use trained =
        run.Value.Train
            {
                Train = images.Value
                Seed = 2UL
                Device = "cpu"
                Workers = 1
                CheckpointEvery = 4
                StopAtCollapse = false
                Folder = folder
                Progress =
                    { new IProgress<StepReport> with
                        member _.Report r = at r.Step
                    }
                Stop = stop
                Trained = fun _ -> invalidOp "it builds on no other run"
            }

    trained.Outcome.Value.End

/// The message of the one error that a training ends with; None where it came to its end.
let private refused (folder: string) at =
    try
        train folder CancellationToken.None at |> ignore
        None
    with :? TrainException as e ->
        Expect.stringContains e.Message "Free space" "how to mend it"
        Some e.Message

let private checkpoints (folder: string) =
    if Directory.Exists folder then
        Directory.GetFiles(folder, "step-*.safetensors") |> Array.sort
    else
        [||]

let private halfWritten (disk: string) =
    Directory.GetFiles(disk, "*.tmp", SearchOption.AllDirectories)

/// Weights and metrics of a training's end.
let private outcome (folder: string) =
    use file = SafetensorsFile.Open(checkpoints folder |> Array.last)
    file.DataHash(), File.ReadAllLines(Path.Combine(folder, "metrics.jsonl"))

let private whole =
    lazy
        (let folder = Directory.CreateTempSubdirectory "sslr-disk-"

         try
             train folder.FullName CancellationToken.None ignore |> ignore
             outcome folder.FullName
         finally
             folder.Delete true)

/// Files below a folder that this process has open; one that is closed meanwhile is none.
let private opened (folder: string) =
    [
        for path in Directory.GetFiles "/proc/self/fd" do
            try
                match File.ResolveLinkTarget(path, false) with
                | null -> ()
                | target when target.FullName.StartsWith(folder, StringComparison.Ordinal) -> target.FullName
                | _ -> ()
            with :? FileNotFoundException ->
                ()
    ]

let private wholeLines (folder: string) =
    for name in [ "metrics.jsonl"; "timing.jsonl" ] do
        let text = File.ReadAllText(Path.Combine(folder, name))
        Expect.isTrue (text = "" || text.EndsWith '\n') $"{name} ends with a whole line"

        for line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries) do
            JsonDocument.Parse(line).Dispose()

/// After a refusal: nothing half-written, every checkpoint intact; with space again the same call ends with the same bits.
let private goesOn disk folder (free: int64) =
    Expect.isEmpty (halfWritten disk) $"nothing half-written with {free} bytes left"

    for path in checkpoints folder do
        use file = SafetensorsFile.Open path
        Expect.isTrue (file.IsIntact()) $"{path} with {free} bytes left"

    emptied disk
    Expect.equal (refused folder ignore) None "with space again it goes on"
    Expect.equal (outcome folder) whole.Value $"the same end after {free} bytes were left"
    wholeLines folder

let private point step =
    ReportPoint(step, 0, 1.5 + float step, 0.25, 0.5, 3.5)

let private report (step: int64) =
    StepReport(step, 100L, 0L, 1, 1.5, 0.25, 0.5, 3.5, 100., 0.1, TimeSpan.Zero)

[<Tests>]
let tests =
    testList
        "full disk"
        [
            test "full from the start, one error names the folder, and nothing is left behind" {
                onDisk 4096 (fun disk ->
                    for free in [ 0L; 4096L; 8192L; 16384L; 32768L; 65536L ] do
                        let folder = Path.Combine(disk, $"run-{free}")
                        Directory.CreateDirectory folder |> ignore
                        fill disk free

                        match refused folder ignore with
                        | None -> failtest $"no error with {free} bytes left"
                        | Some message ->
                            Expect.stringContains message folder "where"
                            Expect.stringContains message "space" "what"

                        goesOn disk folder free
                        Directory.Delete(folder, true))
            }

            test "full in the middle, the older checkpoints are intact, and with space again the end is bit-identical" {
                onDisk 4096 (fun disk ->
                    for free in [ 0L; 2000L; 12_000L ] do
                        let folder = Path.Combine(disk, $"run-{free}")
                        let mutable kept = [||]

                        let at step =
                            if step = 10L then
                                kept <- checkpoints folder |> Array.map (fun p -> p, File.ReadAllBytes p)
                                fill disk free

                        match refused folder at with
                        | None -> failtest $"no error with {free} bytes left"
                        | Some message -> Expect.stringContains message folder "where"

                        Expect.hasLength kept 2 "two checkpoints before"

                        for path, bytes in kept do
                            Expect.equal (File.ReadAllBytes path) bytes $"{path}"

                        goesOn disk folder free
                        Directory.Delete(folder, true))
            }

            test "a disk that became read-only is one error, and writable again the end is bit-identical" {
                onDisk 4096 (fun disk ->
                    let folder = Path.Combine(disk, "run")
                    use stop = new CancellationTokenSource()

                    let ended =
                        train folder stop.Token (fun step ->
                            if step = 6L then
                                stop.Cancel())

                    Expect.equal ended TrainEnd.Interrupted "stopped"

                    let remount mode =
                        Expect.equal (mount [ "-o"; $"remount,{mode}"; disk ]).Code 0 mode

                    let state () =
                        [
                            for path in Directory.GetFiles(disk, "*", SearchOption.AllDirectories) |> Array.sort ->
                                path, File.ReadAllBytes path
                        ]

                    let before = state ()
                    remount "ro"

                    match refused folder ignore with
                    | None -> failtest "no error"
                    | Some message -> Expect.stringContains message folder "where"

                    Expect.equal (state ()) before "nothing changed"
                    remount "rw"
                    goesOn disk folder 0L)
            }

            test "half a line that a kill left is cut off, and the lines before it stay" {
                let folder = Directory.CreateTempSubdirectory "sslr-disk-"

                try
                    let start () =
                        use log = new RunLog(folder.FullName, [])
                        log.Start(0L, "cpu", 1)

                    let timing = Path.Combine(folder.FullName, "timing.jsonl")
                    start ()
                    let first = File.ReadAllText timing

                    for torn in [ "{\"step\":1"; "x"; first.TrimEnd '\n' ] do
                        File.WriteAllText(timing, first + torn)
                        start ()
                        Expect.stringStarts (File.ReadAllText timing) first "the line before"
                        Expect.hasLength (File.ReadAllLines timing) 2 "and that of the new start"
                        wholeLines folder.FullName

                    File.WriteAllText(timing, "{\"step\":1")
                    start ()
                    wholeLines folder.FullName
                finally
                    folder.Delete true
            }

            test "pages and pictures on a full disk stay as they were, and leave nothing half-written" {
                onDisk 1024 (fun disk ->
                    let run = Run.ofExperiment Samples.simclr
                    let recipe = Samples.recipe "pages" [ Table.compare "pages" [ run ] [ Samples.knn ] ]
                    let store = Store(disk, recipe.Name)
                    let picture = Path.Combine(store.Folder, "sheet.png")
                    let png (shade: byte) = Array.create 50_000 shade

                    let draw shade =
                        Report.render disk recipe |> ignore
                        Sheet.Save(picture, png shade)

                    store.Append(Samples.stored run 0 [ Samples.knn, 50. ])
                    draw 1uy

                    let files () =
                        [
                            for path in Directory.GetFiles(disk, "*", SearchOption.AllDirectories) |> Array.sort do
                                if Path.GetFileName path <> "filler" then
                                    path, File.ReadAllBytes path
                        ]

                    store.Append(Samples.stored run 1 [ Samples.knn, 60. ])
                    let before = files ()

                    fill disk 0L
                    Expect.throwsT<IOException> (fun () -> Report.render disk recipe |> ignore) "no page"
                    Expect.throwsT<IOException> (fun () -> Sheet.Save(picture, png 2uy)) "no picture"
                    Expect.isEmpty (halfWritten disk) "nothing half-written"
                    Expect.equal (files ()) before "everything as it was"
                    emptied disk
                    draw 2uy

                    Expect.stringContains
                        (File.ReadAllText(Path.Combine(store.Folder, "table.md")))
                        "55.0"
                        "the new page"

                    Expect.equal (File.ReadAllBytes picture) (png 2uy) "the new picture")
            }

            test "metrics, timing and events on a full disk: one error each time, no half line, no open file" {
                onDisk 256 (fun disk ->
                    let folder = Path.Combine(disk, "run")
                    Directory.CreateDirectory folder |> ignore
                    let history = [ for step in 1L .. 40L -> point step ]
                    let metrics = Path.Combine(folder, "metrics.jsonl")

                    let expected = history |> List.collect (fun p -> RunLog.Line p |> List.ofArray) |> List.toArray

                    (new RunLog(folder, history)).Dispose()
                    Expect.equal (File.ReadAllBytes metrics) expected "there before"

                    for free in [ 0L; 4096L; 8192L; 12288L; 20480L ] do
                        fill disk free

                        Expect.throwsT<IOException>
                            (fun () ->
                                use log = new RunLog(folder, history)
                                log.Start(40L, "cpu", 1)

                                for step in 41L .. 4000L do
                                    let p = point step
                                    log.Report(&p, report step, 1.))
                            $"{free} bytes left"

                        Expect.isEmpty (halfWritten disk) "nothing half-written"

                        let now = File.ReadAllBytes metrics
                        Expect.equal (Array.truncate expected.Length now) expected "what was there is there"
                        emptied disk
                        (new RunLog(folder, history)).Dispose()
                        Expect.equal (File.ReadAllBytes metrics) expected "as the checkpoint has it"
                        wholeLines folder

                        Expect.isEmpty (opened disk) "no file stays open")
            }
        ]

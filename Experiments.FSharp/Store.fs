namespace SslResearch

open System
open System.IO
open System.Text
open System.Text.Json
open System.Threading

/// What a results file holds.
type Stored =
    {
        /// In the order in which they were first written; of lines with one run id, seed and content the first that is complete, else the last.
        Runs: StoredRun list
        /// The start of a line that was never finished (power loss, a full disk): ignored, and its run is done again.
        Torn: string option
    }

/// The runs of one recipe: `<results>/<recipe>/runs.jsonl`, append-only, one whole line for each finished run and seed. Checkpoints and
/// other work files lie under `<results>/work`, where all recipes find them: a training that two runs share is done once.
[<Sealed>]
type Store(results: string, recipe: string) =
    let folder = Path.Combine(results, recipe)
    let path = Path.Combine(folder, "runs.jsonl")
    let lockPath = Path.Combine(folder, "runs.lock")

    /// Whole lines, then what is left after them, and how many bytes the whole lines take.
    let split (bytes: byte[]) =
        let decode (from: int) until =
            Encoding.UTF8.GetString(bytes, from, until - from)

        let rec go from lines =
            match Array.IndexOf(bytes, 10uy, from) with
            | -1 ->
                List.rev lines,
                (if from < bytes.Length then
                     Some(decode from bytes.Length)
                 else
                     None),
                from
            | stop -> go (stop + 1) ((decode from stop, from) :: lines)

        go 0 []

    let parse line =
        try
            Ok(StoredRun.ofJson line)
        with
        | :? JsonException -> Error "no stored run"
        | :? Collections.Generic.KeyNotFoundException
        | :? InvalidOperationException
        | :? IndexOutOfRangeException -> Error "a stored run that lacks a field, or has one of another kind"
        | :? FormatException as e -> Error $"no stored run as it was written ({e.Message})"

    /// Of lines with one run id, seed and content the first that is complete, else the last.
    let deciding (runs: StoredRun list) =
        runs
        |> List.groupBy (fun r -> r.RunId, r.Seed, StoredRun.content r)
        |> List.map (fun (_, same) ->
            same
            |> List.tryFind StoredRun.isComplete
            |> Option.defaultValue (List.last same))

    let newer line found =
        raise (
            ResultsException
                $"{path}, line {line}: it has form {found}, this program knows forms up to {StoredRun.schema}: a newer version wrote it. Use that version, or another results folder."
        )

    /// Runs, torn end, length of what is whole.
    let read () =
        if not (File.Exists path) then
            { Runs = []; Torn = None }, 0
        else
            let lines, rest, whole = split (File.ReadAllBytes path)

            let runs =
                [
                    for i, (line, _) in List.indexed lines do
                        try
                            match (if line = "" then Error "an empty line" else parse line) with
                            | Ok run -> run
                            | Error why ->
                                raise (
                                    ResultsException
                                        $"{path}, line {i + 1}: {why}. The file was changed by other means than this program, or damaged; restore it from version control, or remove that line."
                                )
                        with NewerSchema found ->
                            newer (i + 1) found
                ]

            match rest with
            | None -> { Runs = deciding runs; Torn = None }, whole
            | Some rest ->
                match
                    (try
                        parse rest
                     with NewerSchema found ->
                         newer (lines.Length + 1) found)
                with
                | Ok run ->
                    {
                        Runs = deciding (runs @ [ run ])
                        Torn = None
                    },
                    whole + Encoding.UTF8.GetByteCount rest
                | Error _ ->
                    {
                        Runs = deciding runs
                        Torn = Some rest
                    },
                    whole

    /// A file held alone by this process; None while another one holds it. Whatever else stands in the way is an error.
    let tryHold (file: string) =
        // What .NET makes of flock's EWOULDBLOCK, and of Windows' sharing and lock violations.
        let held = [ 11; 0x80070020; 0x80070021 ]

        try
            Some(new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        with :? IOException as e when List.contains e.HResult held ->
            None

    /// Holds the lock while the action runs; waits for another process that holds it.
    let locked (action: unit -> 'T) =
        Directory.CreateDirectory folder |> ignore
        let deadline = Environment.TickCount64 + 60_000L

        let rec take () =
            match tryHold lockPath with
            | Some stream -> stream
            | None when Environment.TickCount64 > deadline ->
                raise (
                    ResultsException
                        $"{lockPath} has been held by another process for a minute. End that process, or use another results folder."
                )
            | None ->
                Thread.Sleep 5
                take ()

        use _ = take ()
        action ()

    member _.Folder = folder
    member _.Path = path

    /// Everything that is stored.
    member _.Load() : Stored =
        let seen = read () |> fst

        if seen.Torn.IsNone then
            seen
        else
            // Perhaps another process is in the middle of a line: look again when it is done.
            try
                locked (fun () -> read () |> fst)
            with
            | :? UnauthorizedAccessException
            | :? IOException -> seen

    /// Writes one line and syncs it to the disk. The start of a line that was never finished is cut off first and kept in runs.torn; a whole
    /// line is never removed. Does nothing where that run, seed and content is stored already and complete, or with the same failures.
    member _.Append(run: StoredRun) : unit =
        locked (fun () ->
            let stored, whole = read ()

            let isThere =
                stored.Runs
                |> List.exists (fun r ->
                    r.RunId = run.RunId
                    && r.Seed = run.Seed
                    && StoredRun.content r = StoredRun.content run
                    && (StoredRun.isComplete r || r.Failures = run.Failures && r.Scores = run.Scores))

            if not isThere then
                stored.Torn
                |> Option.iter (fun torn -> File.AppendAllText(Path.Combine(folder, "runs.torn"), torn + "\n"))

                use stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read)
                stream.SetLength(int64 whole)

                let separator =
                    if whole = 0 then
                        ""
                    else
                        stream.Position <- int64 whole - 1L
                        if stream.ReadByte() = 10 then "" else "\n"

                stream.Position <- int64 whole
                stream.Write(Encoding.UTF8.GetBytes(separator + StoredRun.toJson run + "\n"))
                stream.Flush true)

    /// A file beside the results file.
    member _.File(relative: string) = Path.Combine(folder, relative)

    /// Work files of one training, named by `Run.TrainId`, seed and, where its images were imported, their content.
    member _.WorkFolder(trainId: string, seed: int, ?content: string) =
        let content = content |> Option.map (fun c -> "-" + c) |> Option.defaultValue ""
        Path.Combine(results, "work", $"{trainId}{content}-s{seed}")

    /// Takes the right to one training and its evaluation, for as long as the returned value lives; None while another process has it.
    member store.TryLock(trainId: string, seed: int, ?content: string) : IDisposable option =
        let work = store.WorkFolder(trainId, seed, ?content = content)
        Directory.CreateDirectory work |> ignore

        tryHold (Path.Combine(work, "run.lock"))
        |> Option.map (fun held -> held :> IDisposable)

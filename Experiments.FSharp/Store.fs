namespace SslResearch

open System
open System.IO
open System.Text
open System.Text.Json
open System.Threading

/// What a results file holds.
type Stored =
    {
        /// In the order in which they were written; of two lines with one run id and seed the first.
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
        | :? JsonException
        | :? Collections.Generic.KeyNotFoundException
        | :? FormatException
        | :? InvalidOperationException
        | :? IndexOutOfRangeException -> Error "no stored run"
        | :? ResultsException as e -> Error e.Message

    /// Runs, torn end, length of what is whole.
    let read () =
        if not (File.Exists path) then
            { Runs = []; Torn = None }, 0
        else
            let lines, rest, whole = split (File.ReadAllBytes path)

            let parsed =
                lines
                |> List.mapi (fun i (line, from) ->
                    i, line, from, (if line = "" then Error "an empty line" else parse line))

            let good = parsed |> List.choose (fun (_, _, _, r) -> Result.toOption r)

            let bad =
                parsed
                |> List.choose (fun (i, line, from, r) ->
                    match r with
                    | Error why -> Some(i, line, from, why)
                    | Ok _ -> None)

            let first (runs: StoredRun list) =
                runs |> List.distinctBy (fun r -> r.RunId, r.Seed)

            match bad, rest with
            | [], None -> { Runs = first good; Torn = None }, whole
            | [], Some rest ->
                match parse rest with
                | Ok run ->
                    {
                        Runs = first (good @ [ run ])
                        Torn = None
                    },
                    whole + Encoding.UTF8.GetByteCount rest
                | Error _ -> { Runs = first good; Torn = Some rest }, whole
            | [ i, line, from, _ ], None when i = lines.Length - 1 -> { Runs = first good; Torn = Some line }, from
            | (i, _, _, why) :: _, _ ->
                raise (
                    ResultsException
                        $"{path}, line {i + 1}: {why}. The file was changed by other means than this program; restore it from version control, or remove that line."
                )

    /// Holds the lock while the action runs; waits for another process that holds it.
    let locked (action: unit -> 'T) =
        Directory.CreateDirectory folder |> ignore
        let deadline = Environment.TickCount64 + 60_000L

        let rec take () =
            match
                (try
                    Some(new FileStream(lockPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
                 with :? IOException when Environment.TickCount64 < deadline ->
                     None)
            with
            | Some stream -> stream
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
            with :? UnauthorizedAccessException ->
                seen

    /// Writes one line and syncs it to the disk. A torn end is cut off first and kept in runs.torn. Does nothing where that
    /// run and seed is stored already.
    member _.Append(run: StoredRun) : unit =
        locked (fun () ->
            let stored, whole = read ()

            if not (stored.Runs |> List.exists (fun r -> r.RunId = run.RunId && r.Seed = run.Seed)) then
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

    /// Work files of one training, named by `Run.TrainId`, and seed.
    member _.WorkFolder(trainId: string, seed: int) =
        Path.Combine(results, "work", $"{trainId}-s{seed}")

    /// Takes the right to one training and its evaluation, for as long as the returned value lives; None while another process has it.
    member store.TryLock(trainId: string, seed: int) : IDisposable option =
        let work = store.WorkFolder(trainId, seed)
        Directory.CreateDirectory work |> ignore

        try
            Some(
                new FileStream(
                    Path.Combine(work, "run.lock"),
                    FileMode.OpenOrCreate,
                    FileAccess.ReadWrite,
                    FileShare.None
                )
            )
        with :? IOException ->
            None

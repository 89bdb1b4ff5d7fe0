namespace SslResearch

open System
open System.Globalization
open System.IO
open System.Security.Cryptography
open System.Text
open System.Text.Json
open System.Threading

/// One measured score of a run.
type Score =
    {
        /// Name of the protocol.
        Protocol: string
        /// Accuracy on the test split in percent.
        Value: float
        /// What the protocol found on the way, by name (the L2 it chose, …).
        Details: (string * float) list
    }

/// One point of a training's curve.
type CurvePoint =
    {
        Step: int64
        Loss: float
        Deviation: float
        RankMe: float
    }

/// How a training ended and what it cost; zeros and NaN where nothing was trained.
type TrainingRecord =
    {
        Loss: float
        /// The loss of embeddings without information.
        Chance: float
        /// The loss of equal embeddings.
        Collapsed: float
        Deviation: float
        RankMe: float
        Steps: int64
        /// Steps it would have had; more than Steps where it diverged or was ended as collapsed.
        Budget: int64
        /// Step from which on it was collapsed to its end.
        CollapsedSince: int64 option
        Seconds: float
        ImagesPerSecond: float
        /// Bytes.
        PeakMemory: int64
        Curve: CurvePoint list
    }

type DatasetRecord =
    {
        Name: string
        TrainCount: int
        TestCount: int
        TrainFingerprint: string
        TestFingerprint: string
        /// Mean and deviation of the training split, where the run was normalised by them.
        Normalisation: Normalisation option
    }

/// Where and by what a run was done.
type Provenance =
    {
        Device: string
        Threads: int
        Cpu: string
        Cores: int
        /// Hash of the commit, or "unknown" outside a repository.
        Commit: string
        /// Uncommitted changes.
        Dirty: bool
        /// Versions by name.
        Versions: (string * string) list
        Started: DateTime
        Ended: DateTime
        /// Times it was started; more than one where it was interrupted.
        Starts: int
    }

/// One finished run of one seed: a line of runs.jsonl.
type StoredRun =
    {
        RunId: string
        Seed: int
        Name: string
        Labels: (string * string) list
        Canonical: string
        /// learned, at chance, diverged, untrained, or collapsed with its kind in brackets.
        Verdict: string
        Scores: Score list
        /// Protocols that could not be scored, each with its reason: the run is to be scored again for these.
        Failures: (string * string) list
        /// The method's own figures on the test split of what it was trained on, by name.
        Measures: (string * float) list
        /// A picture of what the method predicts, by its path from the results file.
        Picture: string option
        Training: TrainingRecord
        EvaluationSeconds: float
        /// What it is scored on, and trained on unless the next field says otherwise.
        Dataset: DatasetRecord
        TrainedOn: DatasetRecord option
        Provenance: Provenance
    }

/// What the images of a run were: fingerprints of the splits that it was scored on, and of those that it was trained on where they are others.
/// With run id and seed it makes a stored run that one and no other.
type Content =
    {
        Scored: string * string
        Trained: (string * string) option
    }

/// A message for people: what is wrong with a results file and what to do.
type ResultsException(message: string) =
    inherit Exception(message)

/// A line of a form that a newer version writes.
exception NewerSchema of schema: int

/// The one-line JSON form of a stored run.
[<RequireQualifiedAccess>]
module StoredRun =
    /// Version of the line's form. Lines of form 1 have no checksum.
    let schema = 2

    /// Starts the last field: the SHA-256 of the line as it is without that field.
    let private checksum = ",\"sha256\":\""

    let private hash (text: string) =
        Encoding.UTF8.GetBytes text |> SHA256.HashData |> Convert.ToHexStringLower

    let content (run: StoredRun) : Content =
        let prints (d: DatasetRecord) = d.TrainFingerprint, d.TestFingerprint

        {
            Scored = prints run.Dataset
            Trained = run.TrainedOn |> Option.map prints
        }

    /// Scored by every protocol that it was to be scored by.
    let isComplete (run: StoredRun) = run.Failures.IsEmpty

    /// A moment as ISO 8601 writes it, to the second, in UTC.
    let internal time (t: DateTime) =
        t.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture)

    let toJson (run: StoredRun) =
        use stream = new MemoryStream()

        let options = JsonWriterOptions(Encoder = Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping)

        use w = new Utf8JsonWriter(stream, options)

        let number (name: string) (x: float) =
            if Double.IsFinite x then
                w.WriteNumber(name, x)
            else
                w.WriteNull name

        let pairs (name: string) (items: (string * string) list) =
            w.WriteStartArray name

            for key, value in items do
                w.WriteStartArray()
                w.WriteStringValue key
                w.WriteStringValue value
                w.WriteEndArray()

            w.WriteEndArray()

        let object (name: string) (body: unit -> unit) =
            w.WriteStartObject name
            body ()
            w.WriteEndObject()

        w.WriteStartObject()
        w.WriteNumber("schema", schema)
        w.WriteString("run", run.RunId)
        w.WriteNumber("seed", run.Seed)
        w.WriteString("name", run.Name)
        pairs "labels" run.Labels
        w.WriteString("verdict", run.Verdict)
        w.WriteStartArray "scores"

        for score in run.Scores do
            w.WriteStartObject()
            w.WriteString("protocol", score.Protocol)
            number "value" score.Value

            object "details" (fun () ->
                for name, value in score.Details do
                    number name value)

            w.WriteEndObject()

        w.WriteEndArray()

        if not run.Failures.IsEmpty then
            pairs "failures" run.Failures

        if not run.Measures.IsEmpty then
            object "measures" (fun () ->
                for name, value in run.Measures do
                    number name value)

        run.Picture |> Option.iter (fun path -> w.WriteString("picture", path))

        object "training" (fun () ->
            let t = run.Training
            number "loss" t.Loss
            number "chance" t.Chance
            number "collapsed" t.Collapsed
            number "deviation" t.Deviation
            number "rankme" t.RankMe
            w.WriteNumber("steps", t.Steps)
            w.WriteNumber("budget", t.Budget)

            match t.CollapsedSince with
            | Some step -> w.WriteNumber("collapsed_since", step)
            | None -> ()

            number "seconds" t.Seconds
            number "images_per_second" t.ImagesPerSecond
            w.WriteNumber("peak_memory", t.PeakMemory)
            w.WriteStartArray "curve"

            for point in t.Curve do
                w.WriteStartArray()
                w.WriteNumberValue point.Step

                for x in [ point.Loss; point.Deviation; point.RankMe ] do
                    if Double.IsFinite x then
                        w.WriteNumberValue(Math.Round(x, 5))
                    else
                        w.WriteNullValue()

                w.WriteEndArray()

            w.WriteEndArray())

        number "evaluation_seconds" run.EvaluationSeconds

        let dataset name (d: DatasetRecord) =
            object name (fun () ->
                w.WriteString("name", d.Name)
                w.WriteNumber("train", d.TrainCount)
                w.WriteNumber("test", d.TestCount)
                w.WriteString("train_fingerprint", d.TrainFingerprint)
                w.WriteString("test_fingerprint", d.TestFingerprint)

                for n in Option.toList d.Normalisation do
                    for name, values in [ "mean", n.Mean; "deviation", n.Std ] do
                        w.WriteStartArray(name: string)
                        values |> List.iter w.WriteNumberValue
                        w.WriteEndArray())

        dataset "dataset" run.Dataset
        run.TrainedOn |> Option.iter (dataset "trained_on")

        object "provenance" (fun () ->
            let p = run.Provenance
            w.WriteString("device", p.Device)
            w.WriteNumber("threads", p.Threads)
            w.WriteString("cpu", p.Cpu)
            w.WriteNumber("cores", p.Cores)
            w.WriteString("commit", p.Commit)
            w.WriteBoolean("dirty", p.Dirty)
            pairs "versions" p.Versions
            w.WriteString("started", time p.Started)
            w.WriteString("ended", time p.Ended)
            w.WriteNumber("starts", p.Starts))

        w.WriteString("canonical", run.Canonical)
        w.WriteEndObject()
        w.Flush()
        let text = Encoding.UTF8.GetString(stream.ToArray())
        text.Substring(0, text.Length - 1) + checksum + hash text + "\"}"

    /// Refuses a line that is not as it was written.
    let private verify (line: string) (version: int) =
        match version, line.LastIndexOf(checksum, StringComparison.Ordinal) with
        | 1, -1 -> ()
        | 1, _ -> raise (FormatException "it says form 1 and holds a checksum")
        | _, -1 -> raise (FormatException "its checksum is missing")
        | _, at ->
            if line.Substring(at) <> checksum + hash (line.Substring(0, at) + "}") + "\"}" then
                raise (FormatException "its checksum does not fit it")

    /// Throws JsonException, KeyNotFoundException, FormatException, InvalidOperationException or IndexOutOfRangeException where the text is no
    /// stored run, and NewerSchema where a newer version wrote it.
    let ofJson (line: string) : StoredRun =
        use document = JsonDocument.Parse(line, JsonDocumentOptions(AllowDuplicateProperties = false))

        let root = document.RootElement
        let get (name: string) (e: JsonElement) = e.GetProperty name

        let words (e: JsonElement) =
            match e.GetString() with
            | null -> raise (FormatException "a text is null")
            | text -> text

        let text name e = words (get name e)

        let real (e: JsonElement) =
            if e.ValueKind = JsonValueKind.Null then
                nan
            else
                let x = e.GetDouble()

                if Double.IsFinite x then
                    x
                else
                    raise (FormatException "a number is beyond all bounds")

        let numbers (name: string) (e: JsonElement) =
            match e.TryGetProperty name with
            | true, values -> Some [ for value in values.EnumerateArray() -> real value ]
            | _ -> None

        let whole (name: string) (e: JsonElement) =
            match e.TryGetProperty name with
            | true, value -> Some(value.GetInt64())
            | _ -> None

        let pairs (e: JsonElement) =
            [ for pair in e.EnumerateArray() -> words pair[0], words pair[1] ]

        let time name e =
            DateTime.Parse(text name e, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal)

        let version = (get "schema" root).GetInt32()

        if version > schema then
            raise (NewerSchema version)

        verify line version
        let training = get "training" root

        let dataset e =
            {
                Name = text "name" e
                TrainCount = (get "train" e).GetInt32()
                TestCount = (get "test" e).GetInt32()
                TrainFingerprint = text "train_fingerprint" e
                TestFingerprint = text "test_fingerprint" e
                Normalisation =
                    match numbers "mean" e, numbers "deviation" e with
                    | Some mean, Some deviation -> Some { Mean = mean; Std = deviation }
                    | _ -> None
            }

        let provenance = get "provenance" root

        {
            RunId = text "run" root
            Seed = (get "seed" root).GetInt32()
            Name = text "name" root
            Labels = pairs (get "labels" root)
            Canonical = text "canonical" root
            Verdict = text "verdict" root
            Scores =
                [
                    for e in (get "scores" root).EnumerateArray() ->
                        {
                            Protocol = text "protocol" e
                            Value = real (get "value" e)
                            Details = [ for d in (get "details" e).EnumerateObject() -> d.Name, real d.Value ]
                        }
                ]
            Failures =
                match root.TryGetProperty "failures" with
                | true, failures -> pairs failures
                | _ -> []
            Measures =
                match root.TryGetProperty "measures" with
                | true, measures -> [ for m in measures.EnumerateObject() -> m.Name, real m.Value ]
                | _ -> []
            Picture =
                match root.TryGetProperty "picture" with
                | true, path -> Some(words path)
                | _ -> None
            Training =
                {
                    Loss = real (get "loss" training)
                    Chance = real (get "chance" training)
                    Collapsed = real (get "collapsed" training)
                    Deviation = real (get "deviation" training)
                    RankMe = real (get "rankme" training)
                    Steps = (get "steps" training).GetInt64()
                    // Lines of 0.1 lack it; their trainings ended with their budget or diverged.
                    Budget =
                        whole "budget" training
                        |> Option.defaultValue ((get "steps" training).GetInt64())
                    CollapsedSince = whole "collapsed_since" training
                    Seconds = real (get "seconds" training)
                    ImagesPerSecond = real (get "images_per_second" training)
                    PeakMemory = (get "peak_memory" training).GetInt64()
                    Curve =
                        [
                            for p in (get "curve" training).EnumerateArray() ->
                                {
                                    Step = p[0].GetInt64()
                                    Loss = real p[1]
                                    Deviation = real p[2]
                                    RankMe = real p[3]
                                }
                        ]
                }
            EvaluationSeconds = real (get "evaluation_seconds" root)
            Dataset = dataset (get "dataset" root)
            TrainedOn =
                match root.TryGetProperty "trained_on" with
                | true, e -> Some(dataset e)
                | _ -> None
            Provenance =
                {
                    Device = text "device" provenance
                    Threads = (get "threads" provenance).GetInt32()
                    Cpu = text "cpu" provenance
                    Cores = (get "cores" provenance).GetInt32()
                    Commit = text "commit" provenance
                    Dirty = (get "dirty" provenance).GetBoolean()
                    Versions = pairs (get "versions" provenance)
                    Started = time "started" provenance
                    Ended = time "ended" provenance
                    Starts = (get "starts" provenance).GetInt32()
                }
        }

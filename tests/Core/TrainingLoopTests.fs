module Tests.Core.TrainingLoopTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open SslResearch.Core.Views
open TorchSharp

type private ToyEncoder() as this =
    inherit Backbone("toy")

    let body =
        torch.nn.Sequential(
            torch.nn.Conv2d(3L, 4L, 3L),
            torch.nn.BatchNorm2d(4L),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(4L * 36L, 6L)
        )

    do this.register_module ("body", body)
    override _.FeatureCount = 6
    override _.Layers = [| Backbone.Output |]
    override _.Map images = images
    override _.Twin() = raise (NotSupportedException())
    override _.Layer(images, _) = body.call images
    override _.forward images = body.call images

/// Uses everything that a checkpoint must carry: batch statistics, torch's generator (dropout), a teacher, a queue.
type private Toy(poison: int64 -> float option) =
    let fresh () =
        torch.manual_seed 11L |> ignore
        new ToyEncoder()

    let encoder = fresh ()
    let teacher = fresh ()
    let queue = torch.zeros(8L, 6L).DetachFromDisposeScope()

    let average =
        MovingAverage("toy", encoder, teacher, fun c -> MovingAverage.Rising(0.9, 1., c.Step, c.TotalSteps))

    let mutable keys: torch.Tensor = null

    new() = new Toy(fun _ -> None)
    member _.Network = encoder
    member _.Teacher = teacher
    member _.Queue = queue

    interface ISslMethod<TwoViews> with
        member _.Encoder = encoder
        member _.Projector = null
        member _.Trained = [| struct ("encoder", encoder) |]
        member _.Teachers = [| average |]
        member _.State = dict [ "queue", queue ] |> Collections.Generic.Dictionary :> _
        member _.Levels _ = LossLevels(Nullable 1., Nullable())

        member _.Forward(views, context) =
            use scope = torch.NewDisposeScope()
            let online = torch.nn.functional.normalize (encoder.call (views.First()))

            let target =
                use noGrad = torch.no_grad ()
                torch.nn.functional.normalize (teacher.call (views.Second()))

            keys <- target.detach().DetachFromDisposeScope()

            let near = (online - target).square().sum(1L).mean()
            let far = online.mm(queue.t ()).square().mean().mul(0.1f.ToScalar())
            let loss: torch.Tensor = near + far

            let loss =
                match poison context.Step with
                | Some factor -> loss.mul (float32(factor).ToScalar())
                | None -> loss

            StepOutput(loss.MoveToOuterDisposeScope(), online.detach().MoveToOuterDisposeScope())

        member _.AfterUpdate _ =
            use joined = torch.cat ([| keys; queue |], 0L)
            use front = joined.narrow (0, 0L, 8L)
            queue.copy_ front |> ignore
            keys.Dispose()

        member _.Dispose() =
            encoder.Dispose()
            teacher.Dispose()
            queue.Dispose()

let private shape = ImageShape(8, 8, 3)

let private data (count: int) =
    let pixels = Array.init (count * shape.Bytes) (fun i -> byte ((i * 7919 + i / 192 * 31) % 251))
    ImageStore.FromMemory("toy", shape, pixels, Array.init count (fun i -> i % 2), [| "a"; "b" |], "train")

let private views () =
    let pipeline =
        ViewPipeline(
            shape,
            [|
                ResizedCrop(0.3, 1., 0.75, 4. / 3., 8, 8, Interpolation.Bilinear) :> ViewOp
                Flip 0.5
            |],
            ChannelNormalisation([| 0.5f; 0.5f; 0.5f |], [| 0.25f; 0.25f; 0.25f |])
        )

    TwoViewAugmenter(pipeline, pipeline)

let private optionsWith checkpointEvery folder epochs workers =
    TrainOptions(
        Epochs = epochs,
        BatchSize = 8,
        Optimiser = LarsOptions(0.9, 0.02, 1e-8, true, false, 1e-4, false),
        PeakRate = 0.5,
        WarmupFraction = 0.1,
        FinalRate = 0.,
        ClipNorm = Nullable 5.,
        Seed = 3UL,
        Workers = workers,
        Device = "cpu",
        CheckpointEvery = checkpointEvery,
        ReportEvery = 3,
        Folder = folder
    )

let private options folder epochs workers = optionsWith 4 folder epochs workers

let private inFolder (act: string -> unit) =
    let folder = Path.Combine(Path.GetTempPath(), $"sslr-train-{Guid.NewGuid():N}")
    Directory.CreateDirectory folder |> ignore

    try
        act folder
    finally
        Directory.Delete(folder, true)

/// Stops the training when a step is reached.
type private StopAt(step: int64, source: CancellationTokenSource) =
    interface IProgress<StepReport> with
        member _.Report r =
            if r.Step >= step then
                source.Cancel()

let private train (toy: Toy) (store: ImageStore) (options: TrainOptions) (stopAt: int64 option) =
    use source = new CancellationTokenSource()

    let progress =
        match stopAt with
        | Some step -> StopAt(step, source) :> IProgress<StepReport>
        | None -> null

    Trainer.Train(toy, store, views (), options, progress, source.Token)

/// Everything of a method, as bytes.
let private bytesOf (toy: Toy) =
    let bytes (t: torch.Tensor) =
        use c = t.detach().contiguous()
        c.bytes.ToArray()

    [
        for m: torch.nn.Module in [ toy.Network :> torch.nn.Module; toy.Teacher ] do
            for struct (name, p) in m.named_parameters () do
                name, bytes p

            for struct (name, b) in m.named_buffers () do
                name, bytes b
        "queue", bytes toy.Queue
    ]

let private metrics folder =
    File.ReadAllText(Path.Combine(folder, "metrics.jsonl"))

let private checkpoints folder =
    Directory.GetFiles(folder, "step-*.safetensors")
    |> Array.map Path.GetFileName
    |> Array.sort

/// What a run that was never stopped ends with: 40 images, batches of 8, 4 epochs, 20 steps.
let private reference =
    lazy
        (let folder = Path.Combine(Path.GetTempPath(), $"sslr-train-{Guid.NewGuid():N}")
         use store = data 40
         use toy = new Toy()
         let outcome = train toy store (options folder 4 2) None
         let result = outcome, bytesOf toy, metrics folder, checkpoints folder
         Directory.Delete(folder, true)
         result)

let private resume =
    testList
        "resume"
        [
            test "an uninterrupted run reports and keeps its last two checkpoints" {
                let outcome, _, lines, kept = reference.Value
                Expect.equal outcome.End TrainEnd.Finished "end"
                Expect.equal outcome.Steps 20L "steps"
                Expect.equal kept [| "step-00000016.safetensors"; "step-00000020.safetensors" |] "kept"
                let lines = lines.Split('\n', StringSplitOptions.RemoveEmptyEntries)
                Expect.hasLength lines 7 "at steps 3, 6, … 18 and 20"
                Expect.stringStarts lines[0] """{"step":3,"epoch":1,"loss":""" "first line"
                Expect.isGreaterThan outcome.PeakMemory 10_000_000L "peak memory"
            }

            test "peak memory is the run's own, whatever the process held before" {
                inFolder (fun folder ->
                    let held () =
                        use self = Process.GetCurrentProcess()
                        self.WorkingSet64

                    let before = held ()

                    do
                        use _scope = torch.NewDisposeScope()
                        let _large = Array.init 300 (fun _ -> torch.ones 1_000_000L)
                        Expect.isGreaterThan (held ()) (before + 500_000_000L) "held for a moment"

                    use store = data 40
                    use toy = new Toy()
                    let outcome = train toy store (options folder 1 1) None
                    Expect.isLessThan outcome.PeakMemory (before + 500_000_000L) "peak memory")
            }

            for stops in [ [ 3L ]; [ 6L; 12L ]; [ 3L; 6L; 9L; 12L; 15L; 18L ] ] do
                test $"stopped at {stops}, the end is bit-identical" {
                    inFolder (fun folder ->
                        let expected, weights, lines, _ = reference.Value
                        use store = data 40

                        for i, stop in List.indexed stops do
                            use toy = new Toy()
                            let outcome = train toy store (options folder 4 (i % 3)) (Some stop)
                            Expect.equal (outcome.End, outcome.Steps) (TrainEnd.Interrupted, stop) "interrupted"

                        use toy = new Toy()
                        let outcome = train toy store (options folder 4 1) None
                        Expect.equal outcome.Loss expected.Loss "loss"
                        Expect.equal outcome.Verdict expected.Verdict "verdict"
                        Expect.equal (bytesOf toy) weights "weights, statistics, teacher and queue"
                        Expect.equal (metrics folder) lines "metrics")
                }

            test
                "stopped after any number of steps, none and those before the first report among them, the end is bit-identical" {
                let _, weights, lines, _ = reference.Value
                use store = data 40

                for stop in 0L .. 19L do
                    inFolder (fun folder ->
                        use source = new CancellationTokenSource()

                        let cancel step =
                            if step = stop - 1L then
                                source.Cancel()

                            None

                        if stop = 0L then
                            source.Cancel()

                        use stopped = new Toy(cancel)

                        let outcome = Trainer.Train(stopped, store, views (), options folder 4 1, null, source.Token)

                        Expect.equal (outcome.End, outcome.Steps) (TrainEnd.Interrupted, stop) "interrupted"
                        use toy = new Toy()
                        train toy store (options folder 4 1) None |> ignore
                        Expect.equal (bytesOf toy) weights $"weights after a stop at {stop}"
                        Expect.equal (metrics folder) lines $"metrics after a stop at {stop}")
            }

            test "killed before the first report with a checkpoint there, the end is bit-identical" {
                inFolder (fun folder ->
                    let _, weights, lines, _ = reference.Value
                    use store = data 40
                    let options = optionsWith 1 folder 4 1
                    use source = new CancellationTokenSource()

                    // A step that throws leaves what a kill would.
                    use dying = new Toy(fun step -> if step = 2L then failwith "killed" else None)

                    Expect.throws
                        (fun () -> Trainer.Train(dying, store, views (), options, null, source.Token) |> ignore)
                        "killed"

                    Expect.equal
                        (checkpoints folder)
                        [| "step-00000001.safetensors"; "step-00000002.safetensors" |]
                        "there"

                    Expect.equal (metrics folder) "" "nothing reported yet"
                    use toy = new Toy()
                    train toy store options None |> ignore
                    Expect.equal (bytesOf toy) weights "weights"
                    Expect.equal (metrics folder) lines "metrics")
            }

            test "killed between checkpoints, the steps since are done again" {
                inFolder (fun folder ->
                    let _, weights, lines, _ = reference.Value
                    use store = data 40

                    // A kill leaves lines behind the last checkpoint and perhaps half a temporary file: make that state by hand.
                    use first = new Toy()
                    train first store (options folder 4 1) (Some 12L) |> ignore
                    let file = Path.Combine(folder, "metrics.jsonl")
                    File.AppendAllText(file, "{\"step\":15,\"epoch\":2,\"loss\":1}\n{\"ste")
                    File.WriteAllText(Path.Combine(folder, "step-00000016.safetensors.77.tmp"), "half")
                    use toy = new Toy()
                    train toy store (options folder 4 1) None |> ignore
                    Expect.equal (bytesOf toy) weights "weights"
                    Expect.equal (metrics folder) lines "metrics"
                    Expect.isEmpty (Directory.GetFiles(folder, "*.tmp")) "nothing half-written is left")
            }

            test "a finished run is not trained again" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()
                    let first = train toy store (options folder 4 1) None
                    let timing = File.ReadAllText(Path.Combine(folder, "timing.jsonl"))
                    use again = new Toy()
                    let second = train again store (options folder 4 1) None
                    Expect.equal (bytesOf again) (bytesOf toy) "weights"

                    Expect.equal
                        (second.End, second.Verdict, second.Loss, second.Seconds)
                        (first.End, first.Verdict, first.Loss, first.Seconds)
                        "outcome"

                    Expect.equal (File.ReadAllText(Path.Combine(folder, "timing.jsonl"))) timing "no new start")
            }

            test "a corrupt newest checkpoint gives way to the one before" {
                inFolder (fun folder ->
                    let _, weights, lines, _ = reference.Value
                    use store = data 40
                    use first = new Toy()
                    train first store (options folder 4 1) (Some 12L) |> ignore
                    let newest = Path.Combine(folder, "step-00000012.safetensors")
                    let bytes = File.ReadAllBytes newest
                    bytes[bytes.Length - 5] <- bytes[bytes.Length - 5] ^^^ 1uy
                    File.WriteAllBytes(newest, bytes)
                    use toy = new Toy()
                    let outcome = train toy store (options folder 4 1) None
                    Expect.exists outcome.Notes (fun n -> n.Contains "step-00000012" && n.Contains "SHA-256") "a note"
                    Expect.equal (bytesOf toy) weights "weights"
                    Expect.equal (metrics folder) lines "metrics"

                    for path in Directory.GetFiles(folder, "step-*.safetensors") do
                        File.WriteAllText(path, "junk")

                    Expect.throwsT<TrainException>
                        (fun () -> train toy store (options folder 4 1) None |> ignore)
                        "all corrupt")
            }

            test "whatever is damaged in the newest checkpoint, the one before is used" {
                let _, weights, lines, _ = reference.Value
                use store = data 40

                let header (bytes: byte[]) = 8 + BitConverter.ToInt32(bytes, 0)

                let flipped at (bytes: byte[]) =
                    let bytes = Array.copy bytes
                    bytes[at] <- bytes[at] ^^^ 1uy
                    bytes

                /// Another text of the same length in the header.
                let replaced (was: string) (is: string) (bytes: byte[]) =
                    let text = Text.Encoding.Latin1.GetString bytes
                    Expect.stringContains text was "to be replaced"
                    Text.Encoding.Latin1.GetBytes(text.Replace(was, is))

                let older = ref [||]

                let damages: (string * (byte[] -> byte[])) list =
                    [
                        "empty", (fun _ -> [||])
                        "half", (fun b -> Array.truncate (b.Length / 2) b)
                        "its last byte lost", (fun b -> Array.truncate (b.Length - 1) b)
                        "a byte more", (fun b -> Array.append b [| 0uy |])
                        "zeros", (fun b -> Array.zeroCreate b.Length)
                        "data", (fun b -> flipped (b.Length - 5) b)
                        "length of the header", flipped 0
                        "step", replaced "\"step\":\"15\"" "\"step\":\"17\""
                        "format", replaced "sslr checkpoint" "sslr checkpoins"
                        "identity", replaced "batch: 8" "batch: 9"
                        "seconds", replaced "\"seconds\"" "\"secondt\""
                        "threads", replaced "\"threads\":\"" "\"thread5\":\""
                        "hash", replaced "file_sha256" "file_sha255"
                        "name of a tensor", replaced "\"state.queue\"" "\"state.queuf\""
                        "type of a tensor", replaced "I64" "F64"
                        "metadata", replaced "__metadata__" "__metadatb__"
                        "the step before under its name", (fun _ -> older.Value)
                    ]

                let everyByte =
                    [
                        for part in 0..40 ->
                            $"byte {part}/40 of the header", fun (b: byte[]) -> flipped ((header b - 1) * part / 40) b
                    ]

                inFolder (fun made ->
                    use first = new Toy()
                    train first store (options made 4 1) (Some 15L) |> ignore
                    let file step folder = CheckpointFile.PathOf(folder, step)
                    older.Value <- File.ReadAllBytes(file 12L made)
                    let newest = File.ReadAllBytes(file 15L made)

                    for what, damage in damages @ everyByte do
                        inFolder (fun folder ->
                            File.WriteAllBytes(file 12L folder, older.Value)
                            File.WriteAllBytes(file 15L folder, damage newest)
                            use toy = new Toy()
                            let outcome = train toy store (options folder 4 1) None
                            Expect.exists outcome.Notes (fun n -> n.Contains "step-00000015") $"{what}: a note"
                            Expect.equal (bytesOf toy) weights $"{what}: weights"
                            Expect.equal (metrics folder) lines $"{what}: metrics"))
            }

            test "where all checkpoints are corrupt, every call says so and changes nothing" {
                inFolder (fun folder ->
                    use store = data 40
                    use first = new Toy()
                    train first store (options folder 4 1) (Some 12L) |> ignore

                    for path in Directory.GetFiles(folder, "step-*.safetensors") do
                        let bytes = File.ReadAllBytes path
                        bytes[bytes.Length - 1] <- bytes[bytes.Length - 1] ^^^ 1uy
                        File.WriteAllBytes(path, bytes)

                    let state () =
                        [
                            for path in Directory.GetFiles folder |> Array.sort -> path, File.ReadAllBytes path
                        ]

                    let before = state ()

                    let message () =
                        use toy = new Toy()

                        try
                            train toy store (options folder 4 1) None |> ignore
                            failtest "accepted"
                        with :? TrainException as e ->
                            e.Message

                    let said = message ()
                    Expect.stringContains said folder "where"
                    Expect.stringContains said "Delete the folder" "how to mend it"
                    Expect.equal (message ()) said "the same answer again"
                    Expect.equal (state ()) before "nothing was changed")
            }

            test "a folder that cannot be written is one error that names it" {
                inFolder (fun folder ->
                    let file = Path.Combine(folder, "file")
                    File.WriteAllText(file, "")
                    use store = data 40
                    use toy = new Toy()
                    let inside = Path.Combine(file, "run")

                    try
                        train toy store (options inside 4 1) None |> ignore
                        failtest "accepted"
                    with :? TrainException as e ->
                        Expect.stringContains e.Message inside "where")
            }

            test "a checkpoint's identity is the same in every culture" {
                let identity (culture: Globalization.CultureInfo) =
                    let mutable text = ""

                    inFolder (fun folder ->
                        let before = Globalization.CultureInfo.CurrentCulture
                        use store = data 40
                        use toy = new Toy()
                        use source = new CancellationTokenSource()
                        source.Cancel()

                        try
                            Globalization.CultureInfo.CurrentCulture <- culture

                            Trainer.Train(toy, store, views (), options folder 4 1, null, source.Token)
                            |> ignore
                        finally
                            Globalization.CultureInfo.CurrentCulture <- before

                        use file = SafetensorsFile.Open(CheckpointFile.PathOf(folder, 0L))
                        text <- file.Metadata["identity"])

                    text

                let odd = Globalization.CultureInfo.InvariantCulture.Clone() :?> Globalization.CultureInfo

                odd.NumberFormat.NumberDecimalSeparator <- ","
                odd.NumberFormat.NegativeSign <- "−"
                let plain = identity Globalization.CultureInfo.InvariantCulture
                Expect.stringContains plain "1E-08" "it holds numbers"
                Expect.equal (identity odd) plain "a comma and another minus"
            }

            test "another run's folder is refused, naming the difference" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()
                    train toy store (options folder 4 1) (Some 3L) |> ignore

                    try
                        train toy store (options folder 5 1) None |> ignore
                        failtest "accepted"
                    with :? TrainException as e ->
                        Expect.stringContains e.Message "'epochs: 4', this run has 'epochs: 5'" "message")
            }
        ]

let private ends =
    testList
        "ends"
        [
            for name, factor in [ "not a number", nan; "infinite", infinity ] do
                test $"a loss that is {name} ends the run and saves its inputs" {
                    inFolder (fun folder ->
                        use store = data 40
                        use toy = new Toy(fun step -> if step = 7L then Some factor else None)
                        let outcome = train toy store (options folder 4 1) None

                        Expect.equal
                            (outcome.End, outcome.Verdict, outcome.Steps)
                            (TrainEnd.Diverged, Verdict.Diverged, 7L)
                            "outcome"

                        use file = SafetensorsFile.Open(Path.Combine(folder, "diverged-step-00000007.safetensors"))
                        use saved = file.Read "Both"

                        use loader =
                            new Loader<TwoViews>(store, views (), LoaderOptions(8, 3UL, 0, 1, true), torch.CPU, 7L)

                        Expect.isTrue (saved.allclose (loader.Next().Views.Both, 0., 0.)) "the batch of step 7"

                        for p in toy.Network.parameters () do
                            Expect.isTrue (p.isfinite().all().item<bool>()) "weights of before"

                        use again = new Toy(fun step -> if step = 7L then Some factor else None)
                        let second = train again store (options folder 4 1) None
                        Expect.equal (second.End, second.Steps) (TrainEnd.Diverged, 7L) "the same again")
                }

            test "0 epochs leave the initial weights" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()
                    let before = bytesOf toy
                    let outcome = train toy store (options folder 0 1) None

                    Expect.equal
                        (outcome.End, outcome.Verdict, outcome.Steps)
                        (TrainEnd.Finished, Verdict.Untrained, 0L)
                        "outcome"

                    Expect.equal (bytesOf toy) before "weights")
            }

            test "bad options are named, all at once" {
                use store = data 4
                use toy = new Toy()

                try
                    train
                        toy
                        store
                        (TrainOptions(
                            -1,
                            8,
                            SgdOptions(0.9, false, 0., true),
                            nan,
                            2.,
                            0.,
                            Nullable 0.,
                            0UL,
                            1,
                            "cpu",
                            0,
                            1,
                            "x"
                        ))
                        None
                    |> ignore

                    failtest "accepted"
                with :? TrainException as e ->
                    for part in
                        [
                            "Epochs"
                            "BatchSize"
                            "PeakRate"
                            "WarmupFraction"
                            "ClipNorm"
                            "CheckpointEvery"
                        ] do
                        Expect.stringContains e.Message part part

                Expect.isFalse (Directory.Exists "x") "nothing was made"
            }

            test "progress that cannot be told is not blamed on the training's folder" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()

                    let broken =
                        { new IProgress<StepReport> with
                            member _.Report _ = raise (IOException "Broken pipe")
                        }

                    try
                        Trainer.Train(toy, store, views (), options folder 4 1, broken, CancellationToken.None)
                        |> ignore

                        failtest "told"
                    with :? TrainException as e ->
                        Expect.stringContains e.Message "could not be told: Broken pipe" "message"
                        Expect.isFalse (e.Message.Contains folder) "the folder is not named")
            }

            test "tensors end where they begin" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()

                    let once n =
                        train toy store (options (Path.Combine(folder, string<int> n)) n 1) None
                        |> ignore

                    once 1
                    let before = Tests.Support.LiveTensors.settled ()
                    once 2
                    once 3
                    Expect.equal torch.Tensor.TotalCount before "live tensors")
            }

            test "event files and timings are there, one start each" {
                inFolder (fun folder ->
                    use store = data 40
                    use toy = new Toy()
                    train toy store (options folder 4 1) (Some 6L) |> ignore
                    train toy store (options folder 4 1) None |> ignore
                    let timing = File.ReadAllLines(Path.Combine(folder, "timing.jsonl"))
                    Expect.equal (timing |> Array.filter _.Contains("start_at_step") |> Array.length) 2 "starts"

                    let events =
                        Directory.GetFiles(Path.Combine(folder, "events"), "*tfevents*", SearchOption.AllDirectories)

                    Expect.isNonEmpty events "event files"
                    Expect.all events (fun e -> FileInfo(e).Length > 0L) "not empty")
            }
        ]

let private point step loss deviation rank =
    ReportPoint(step, 0, loss, 0.1, deviation, rank)

let private history losses deviations =
    [|
        for i, (l, d) in Array.indexed (Array.zip losses deviations) -> point (int64 i) l d 5.
    |]

let private diagnostics =
    testList
        "diagnostics"
        [
            for id in [ "rankme.chirp_20x8"; "rankme.rank2_12x5" ] do
                test id {
                    let e = Tests.Support.Golden.entry "losses" id
                    let shape, values = Tests.Support.Golden.input "Z" e
                    let expected = e.GetProperty("expected").GetProperty("value").GetDouble()
                    use single = torch.tensor(Array.map float32 values).reshape shape
                    use wide = torch.tensor(values).reshape shape
                    use turned = wide.t().contiguous()

                    for rows, double in [ single, false; wide, true; turned, true ] do
                        let bound = Tests.Support.Golden.bound e double

                        Tests.Support.Golden.agrees
                            $"{rows.dtype}"
                            (bound "rtol")
                            (bound "atol")
                            expected
                            (Diagnostics.RankMe rows)
                }

            for e in Tests.Support.Golden.family "protocols" [ "rankme_paper"; "rankme_spt" ] do
                test $"golden {Tests.Support.Golden.id e}" {
                    let parameters = e.GetProperty "params"
                    let epsilon = parameters.GetProperty("epsilon").GetDouble()
                    let shape, values = Tests.Support.Golden.input "Z" e
                    let width = int shape[1]

                    // Columns of falling size where the entry says so.
                    let scale j =
                        if parameters.GetProperty("column_scale").ValueKind = System.Text.Json.JsonValueKind.Null then
                            1.
                        else
                            float (j + 1) ** -1.5

                    use scope = torch.NewDisposeScope()

                    let rows = torch.tensor(values |> Array.mapi (fun i x -> x * scale (i % width))).reshape shape

                    for double in [ true; false ] do
                        let rows = if double then rows else rows.``to`` torch.float32
                        let bound = Tests.Support.Golden.bound e double
                        let want = e.GetProperty("expected").GetProperty("value").GetDouble()

                        Tests.Support.Golden.agrees
                            $"{rows.dtype}"
                            (bound "rtol")
                            (bound "atol")
                            want
                            (Diagnostics.RankMe(rows, epsilon))
                }

            test "every kind of collapse has its verdict, and is established by six reports" {
                let levels = LossLevels(Nullable 5., Nullable 0.)

                let healthy = ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.4, 0.95)

                let cases =
                    [
                        Verdict.Learned, healthy
                        Verdict.Collapsed, ReportPoint(0L, 0, 1., 0.1, 0.02, 20., 0.4, 0.95)
                        Verdict.CollapsedDimensions, ReportPoint(0L, 0, 1., 0.1, 0.9, 1.2, 0.4, 0.95)
                        Verdict.CollapsedDimensions, ReportPoint(0L, 0, 1., 0.1, 0.9, 5., 0.4, 0.95, 170.)
                        Verdict.Collapsed, ReportPoint(0L, 0, 0.019, 0.1, 0.9, 20., 0.4, 0.95)
                        Verdict.Learned, ReportPoint(0L, 0, 1., 0.1, 0.9, 5., 0.4, 0.95, 160.)
                        Verdict.CollapsedUniform, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.9999, 1.)
                        Verdict.CollapsedUniform, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.98, 0.984)
                        Verdict.Learned, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.98, 0.986)
                        Verdict.CollapsedToOne, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.001, 0.002)
                        Verdict.CollapsedToOne, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.05, 0.09)
                        Verdict.CollapsedToOne, ReportPoint(0L, 0, 1., 0.1, 0.9, 20., 0.3, 0.303)
                        Verdict.Learned, ReportPoint(0L, 0, 1., 0.1, 0.9, 20.)
                        Verdict.AtChance, ReportPoint(0L, 0, 4.99, 0.1, 0.9, 20.)
                    ]

                for verdict, last in cases do
                    let history =
                        [|
                            for i in 1L .. 40L do
                                let p = if i <= 25L then healthy else last

                                ReportPoint(
                                    i,
                                    0,
                                    p.Loss,
                                    0.1,
                                    p.Deviation,
                                    p.RankMe,
                                    p.AssignmentEntropy,
                                    p.UsageEntropy,
                                    p.Dimensions
                                )
                        |]

                    Expect.equal (Diagnostics.Judge(history, levels)) verdict $"{last}"
                    let collapsed = verdict <> Verdict.Learned && verdict <> Verdict.AtChance
                    Expect.equal (Diagnostics.IsEstablished(history, levels)) collapsed $"established: {last}"

                    Expect.isFalse
                        (Diagnostics.IsEstablished(history[..29], levels))
                        $"five reports are too few: {last}"

                    let since = Diagnostics.CollapsedSince(history, levels)
                    Expect.equal since (if collapsed then Nullable 26L else Nullable()) $"since: {last}"
            }

            test "entropies of assignments: uniform, one prototype, one each" {
                use uniform = torch.full ([| 6L; 4L |], (0.25).ToScalar())
                use one = torch.zeros (6L, 4L)
                one.select(1L, 2L).fill_(1f.ToScalar()) |> ignore
                use each = torch.eye 4L

                for rows, expected in [ uniform, (1., 1.); one, (0., 0.); each, (0., 1.) ] do
                    let struct (assignment, usage) = Diagnostics.Entropies rows
                    let near = { absolute = 1e-6; relative = 0. }
                    Expect.floatClose near assignment (fst expected) "rows"
                    Expect.floatClose near usage (snd expected) "mean"
            }

            test "deviation: 0 at collapse, 1 when spread, whatever the length of the rows" {
                use generator = new torch.Generator(1UL)
                use z = torch.randn ([| 4000L; 64L |], generator = generator)
                Expect.floatClose { absolute = 0.02; relative = 0. } (Diagnostics.Deviation z) 1. "normal"
                use same = torch.ones (16L, 8L)
                Expect.floatClose { absolute = 1e-9; relative = 0. } (Diagnostics.Deviation same) 0. "equal rows"
                use longer = z.mul (1000f.ToScalar())

                Expect.floatClose
                    { absolute = 1e-5; relative = 0. }
                    (Diagnostics.Deviation longer)
                    (Diagnostics.Deviation z)
                    "scale"

                use sample = Diagnostics.Sample z
                Expect.equal sample.shape [| 500L; 64L |] "at most 512 rows"
            }

            test "a deviation by plain loops" {
                let rows = [| [| 3.; 4. |]; [| 0.; 2. |]; [| -1.; 1. |] |]

                let unit =
                    rows
                    |> Array.map (fun r ->
                        let n = sqrt (Array.sumBy (fun x -> x * x) r) in Array.map (fun x -> x / n) r)

                let std j =
                    let column = unit |> Array.map (fun r -> r[j])
                    let mean = Array.average column
                    sqrt (column |> Array.averageBy (fun x -> (x - mean) ** 2.))

                use z = torch.tensor(Array.concat rows).reshape(3L, 2L)
                Expect.floatClose Accuracy.high (Diagnostics.Deviation z) ((std 0 + std 1) / 2. * sqrt 2.) "deviation"
            }

            test "verdicts" {
                let levels = LossLevels(Nullable 6., Nullable 6.)

                let judge losses deviations =
                    Diagnostics.Judge(history losses deviations, levels)

                let falling = Array.init 20 (fun i -> 6. - 0.1 * float i)
                let spread = Array.create 20 0.8
                Expect.equal (judge falling spread) Verdict.Learned "learned"
                Expect.equal (judge (Array.create 20 5.97) spread) Verdict.AtChance "within 1 % of chance"
                Expect.equal (judge (Array.create 20 7.) spread) Verdict.AtChance "above chance"

                Expect.equal
                    (judge falling (Array.init 20 (fun i -> 0.8 - 0.04 * float i)))
                    Verdict.Collapsed
                    "collapsed late"

                Expect.equal (judge (Array.rev falling) spread) Verdict.AtChance "back to chance at the end"
                Expect.equal (judge falling (Array.create 20 nan)) Verdict.Collapsed "a deviation that is no number"
                Expect.equal (Diagnostics.Judge([||], levels)) Verdict.Untrained "nothing"

                Expect.equal
                    (Diagnostics.Judge(history falling spread, LossLevels(Nullable(), Nullable())))
                    Verdict.Learned
                    "no chance level"

                Expect.equal
                    (Diagnostics.Tail(history falling spread, fun p -> p.Loss))
                    4.15
                    "mean of the last two of twenty"
            }
        ]

[<Tests>]
let tests = testList "training loop" [ resume; ends; diagnostics ]

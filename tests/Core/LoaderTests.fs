module Tests.Core.LoaderTests

open System
open System.Threading
open System.Threading.Tasks
open Expecto
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views
open TorchSharp

let private size = ImageShape(8, 8, 3)

let private store count =
    let pixels = Array.init (count * size.Bytes) (fun i -> byte ((i * 7 + i / 192 * 31) % 251))

    ImageStore.FromMemory(
        "numbers",
        size,
        pixels,
        Array.init count (fun i -> i % 10),
        [| for i in 0..9 -> string i |],
        "train"
    )

let private pipeline () =
    let ops: ViewOp[] =
        [|
            ResizedCrop(0.3, 1., 0.75, 4. / 3., 6, 6, Interpolation.Bilinear)
            Flip 0.5
            Jitter(0.4, 0.4, 0.4, 0.1, 0.8)
        |]

    ViewPipeline(size, ops, ChannelNormalisation([| 0.5f; 0.5f; 0.5f |], [| 0.25f; 0.25f; 0.25f |]))

let private two () =
    TwoViewAugmenter(pipeline (), pipeline ())

let private options workers =
    LoaderOptions(BatchSize = 7, Seed = 3UL, Workers = workers, Prefetch = 3, DropLast = true)

let private values (t: torch.Tensor) = t.data<float32>().ToArray()

/// Step, epoch, indices and pixels of the next n batches.
let private take (loader: Loader<TwoViews>) n =
    [
        for _ in 1..n do
            let b = loader.Next()
            b.Step, b.Epoch, b.Indices.ToArray(), values b.Views.Both
    ]

let private fails (bad: int) =
    { new IAugmenter<TwoViews> with
        member _.Buffers = two().Buffers

        member _.Render(sample, memory) =
            if sample.Index = int64 bad then
                invalidOp "a bad image"

        member _.Assemble tensors = TwoViews(tensors[0])
    }

/// A renderer that waits until it is let go.
let private blocked (gate: ManualResetEventSlim) =
    { new IAugmenter<TwoViews> with
        member _.Buffers = two().Buffers
        member _.Render(_, _) = gate.Wait()
        member _.Assemble tensors = TwoViews(tensors[0])
    }

[<Tests>]
let tests =
    testList
        "loader"
        [
            test "the same batches for any number of workers and any prefetch" {
                use store = store 50
                use inline' = new Loader<TwoViews>(store, two (), options 0, torch.CPU)
                let expected = take inline' 25

                for workers in [ 1; 2; 5 ] do
                    for prefetch in [ 1; 4 ] do
                        use loader =
                            new Loader<TwoViews>(
                                store,
                                two (),
                                LoaderOptions(7, 3UL, workers, prefetch, true),
                                torch.CPU
                            )

                        Expect.equal (take loader 25) expected $"{workers} workers, {prefetch} ahead"
            }

            test "reading may begin anywhere" {
                use store = store 50
                use whole = new Loader<TwoViews>(store, two (), options 2, torch.CPU)
                let expected = take whole 20

                for start in [ 1; 7; 13 ] do
                    for workers in [ 0; 2 ] do
                        use resumed = new Loader<TwoViews>(store, two (), options workers, torch.CPU, int64 start)
                        Expect.equal (take resumed 4) expected[start .. start + 3] $"from {start}"

                        for back in [ 2; start; 16 ] do
                            resumed.Seek(int64 back)
                            Expect.equal (take resumed 3) expected[back .. back + 2] $"after a seek to {back}"
            }

            test "an epoch holds each image once, in an order of its own" {
                use store = store 49
                use loader = new Loader<TwoViews>(store, two (), options 2, torch.CPU)
                Expect.equal loader.StepsPerEpoch 7 "steps"
                let all = take loader 14

                let epoch e =
                    all
                    |> List.filter (fun (_, x, _, _) -> x = e)
                    |> List.collect (fun (_, _, i, _) -> List.ofArray i)

                Expect.equal (List.sort (epoch 0)) [ 0..48 ] "first"
                Expect.equal (List.sort (epoch 1)) [ 0..48 ] "second"
                Expect.notEqual (epoch 0) (epoch 1) "orders differ"
            }

            test "the last partial batch is dropped or given, as asked" {
                use store = store 17
                use dropping = new Loader<TwoViews>(store, two (), LoaderOptions(7, 1UL, 2, 2, true), torch.CPU)
                Expect.equal dropping.StepsPerEpoch 2 "dropped"

                for workers in [ 0; 2 ] do
                    use giving =
                        new Loader<TwoViews>(store, two (), LoaderOptions(7, 1UL, workers, 2, false), torch.CPU)

                    Expect.equal giving.StepsPerEpoch 3 "given"

                    for _ in 1..3 do
                        let counts = [ for _ in 1..3 -> giving.Next().Views.Both.shape[0] ]
                        Expect.equal counts [ 14L; 14L; 6L ] "rows"
            }

            test "views of a partial batch lie as in a whole one" {
                use store = store 10
                use whole = new Loader<TwoViews>(store, two (), LoaderOptions(10, 1UL, 0, 1, true), torch.CPU)
                use parts = new Loader<TwoViews>(store, two (), LoaderOptions(7, 1UL, 1, 1, false), torch.CPU)
                let all = whole.Next()
                let all1, all2 = values (all.Views.First()), values (all.Views.Second())
                let a = parts.Next()
                let a1, a2 = values (a.Views.First()), values (a.Views.Second())
                let b = parts.Next()
                let b1, b2 = values (b.Views.First()), values (b.Views.Second())
                Expect.equal (Array.append a1 b1) all1 "first views"
                Expect.equal (Array.append a2 b2) all2 "second views"
            }

            test "labels belong to their images" {
                use store = store 40

                use loader =
                    new Loader<LabelledView>(
                        store,
                        LabelledAugmenter(pipeline ()),
                        LoaderOptions(8, 9UL, 3, 2, true),
                        torch.CPU
                    )

                for _ in 1..12 do
                    let b = loader.Next()
                    let labels = b.Views.Labels.data<int64>().ToArray() |> Array.map int
                    Expect.equal labels (b.Indices.ToArray() |> Array.map (fun i -> i % 10)) "labels"
            }

            test "memory is allocated once" {
                use store = store 56
                use loader = new Loader<TwoViews>(store, two (), options 2, torch.CPU)
                let pointers = [ for _ in 1..40 -> loader.Next().Views.Both.Handle ] |> List.distinct
                Expect.isLessThanOrEqual pointers.Length 4 "slots"
                let live = Tests.Support.LiveTensors.settled ()
                take loader 20 |> ignore
                Expect.equal torch.Tensor.TotalCount live "live tensors"
            }

            test "a batch leaves no garbage per image" {
                use store = store 256
                use loader = new Loader<TwoViews>(store, two (), LoaderOptions(128, 1UL, 2, 2, true), torch.CPU)

                let go n =
                    for _ in 1..n do
                        loader.Next() |> ignore

                go 20
                let before = GC.GetTotalAllocatedBytes true
                go 40
                let perImage = float (GC.GetTotalAllocatedBytes true - before) / (40. * 128.)
                Expect.isLessThan perImage 16. "bytes per image"
            }

            test "a bad image is named" {
                use store = store 50

                for workers in [ 0; 2 ] do
                    use loader = new Loader<TwoViews>(store, fails 23, options workers, torch.CPU)

                    let rec until () =
                        match
                            (try
                                Choice1Of2(loader.Next())
                             with :? LoaderException as e ->
                                 Choice2Of2 e)
                        with
                        | Choice1Of2 _ -> until ()
                        | Choice2Of2 e -> e

                    let failure = until ()
                    Expect.equal failure.Index 23L "index"
                    Expect.stringContains failure.Message "Image 23 of 'numbers' (train)" "place"
                    Expect.stringContains failure.Message "a bad image" "cause"
                    Expect.throwsT<LoaderException> (fun () -> loader.Next() |> ignore) "again"
            }

            test "disposal ends threads that wait, and a consumer that waits" {
                use store = store 50
                let full = new Loader<TwoViews>(store, two (), options 3, torch.CPU)
                full.Next() |> ignore
                Thread.Sleep 50
                let clock = Diagnostics.Stopwatch.StartNew()
                full.Dispose()
                Expect.isLessThan clock.ElapsedMilliseconds 1000L "workers with nothing to do"

                use gate = new ManualResetEventSlim(false)
                let stuck = new Loader<TwoViews>(store, blocked gate, options 2, torch.CPU)
                let consumer = Task.Run(fun () -> stuck.Next() |> ignore)
                Thread.Sleep 50
                let disposal = Task.Run(fun () -> stuck.Dispose())
                Expect.throwsT<ObjectDisposedException> (fun () -> consumer.GetAwaiter().GetResult()) "consumer"
                gate.Set()
                Expect.isTrue (disposal.Wait 2000) "workers"
            }

            test "time spent waiting is measured" {
                use store = store 50
                use gate = new ManualResetEventSlim(false)
                use loader = new Loader<TwoViews>(store, blocked gate, options 2, torch.CPU)
                let opened = Task.Delay(100).ContinueWith(fun (_: Task) -> gate.Set())
                loader.Next() |> ignore
                opened.Wait()
                Expect.isGreaterThan loader.Waited.TotalMilliseconds 60. "waited"
            }

            test "a batch larger than the data is refused" {
                use store = store 5

                let go () =
                    (new Loader<TwoViews>(store, two (), options 0, torch.CPU)).Dispose()

                Expect.throwsT<ArgumentException> go "too large"
            }
        ]

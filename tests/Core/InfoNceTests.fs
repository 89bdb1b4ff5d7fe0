module Tests.Core.InfoNceTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private unit (t: torch.Tensor) =
    torch.nn.functional.normalize (t, 2., 1L)

let private rowsOf (t: torch.Tensor) =
    doubles t |> Array.chunkBySize (int t.shape[1])

let private cosine (a: float[]) (b: float[]) =
    let length v = sqrt (Array.sumBy (fun x -> x * x) v)
    Array.fold2 (fun s x y -> s + x * y) 0. a b / (length a * length b)

/// −log of the positive's share among it and the others.
let private share temperature positive others =
    let weight s = exp (s / temperature)

    -log(weight positive / (weight positive + Seq.sumBy weight others))

let private naiveQueue (q: float[][]) (k: float[][]) negatives temperature =
    Array.map2 (fun q k -> share temperature (cosine q k) (Array.map (cosine q) negatives)) q k
    |> Array.average

/// Each row of `a` looks for its own row of `b`.
let private naiveBatch (a: float[][]) (b: float[][]) temperature =
    a
    |> Array.mapi (fun i row ->
        let others =
            seq {
                for j in 0 .. b.Length - 1 do
                    if j <> i then
                        cosine row b[j]
            }

        share temperature (cosine row b[i]) others)
    |> Array.average

let private dtypes = [ "float64", torch.float64; "float32", torch.float32 ]

let private input (e: JsonElement) name =
    let shape, values = Golden.input name e
    tensor shape values

let private tolerance (e: JsonElement) (dtype: torch.ScalarType) = Golden.bound e (dtype = torch.float64)

let private expectValue e dtype (want: float) (got: torch.Tensor) what =
    let bound = tolerance e dtype
    let got = scalar got
    Expect.isTrue (Golden.close (bound "rtol") (bound "atol") want got) $"{what}: {want} against {got}"

let private expectGradient (e: JsonElement) dtype (name: string) (t: torch.Tensor) =
    let bound = Golden.gradientBound e (dtype = torch.float64)

    let summary = e.GetProperty("expected").GetProperty("grad").GetProperty name
    let norm = sqrt (summary.GetProperty("sumsq").GetDouble())
    let g = doubles t.grad
    Expect.isTrue (Golden.close bound 0. norm (sqrt (Array.sumBy (fun x -> x * x) g))) $"norm of gradient {name}"

    Golden.floats (summary.GetProperty "first6")
    |> Array.iteri (fun i x ->
        Expect.isTrue (Golden.close 0. (bound * norm) x g[i]) $"gradient {name}[{i}]: {x} against {g[i]}")

let private expectRows (e: JsonElement) (name: string) dtype (got: torch.Tensor) =
    let want =
        [|
            for row in e.GetProperty("expected").GetProperty(name).EnumerateArray() do
                yield! Golden.floats row
        |]

    let bound = tolerance e dtype
    Array.iter2 (Golden.agrees name (bound "rtol") (bound "atol")) want (doubles got)

let private golden =
    [
        for name, dtype in dtypes do
            let one id (work: JsonElement -> (string -> torch.Tensor) -> float -> unit) =
                test $"golden {id} {name}" {
                    use scope = torch.NewDisposeScope()
                    let e = Golden.entry "losses" id
                    let parameters = e.GetProperty "params"

                    let temperature =
                        (Golden.tryProp "temperature" parameters
                         |> Option.defaultWith (fun () -> parameters.GetProperty "T"))
                            .GetDouble()

                    work e (fun n -> (input e n).``to``(dtype)) temperature
                }

            let expected (e: JsonElement) (key: string) =
                (e.GetProperty "expected").GetProperty key

            for size in [ "small"; "rich" ] do
                one $"infonce_queue.{size}" (fun e get temperature ->
                    let a = (get "A").requires_grad_()
                    let loss = InfoNce.Queue(a, get "B", unit (get "A"), temperature)
                    expectValue e dtype ((expected e "value").GetDouble()) loss "value"
                    loss.backward ()
                    expectGradient e dtype "A" a)

                one $"mocov3.{size}" (fun e get temperature ->
                    let a, b = (get "A").requires_grad_(), (get "B").requires_grad_()
                    let loss = InfoNce.Batch(a, b, temperature)
                    expectValue e dtype ((expected e "value").GetDouble()) loss "value"
                    loss.backward ()
                    expectGradient e dtype "A" a
                    Expect.isNull b.grad "keys are targets")

            one "moco.solo" (fun e get temperature ->
                let q = (get "q").requires_grad_()
                let loss = InfoNce.Queue(q, get "k", unit (get "bank"), temperature)
                expectValue e dtype ((expected e "value").GetDouble()) loss "value"
                loss.backward ()
                expectGradient e dtype "q" q)

            one "moco.lightly_bank.2steps" (fun e get temperature ->
                use queue = new FeatureQueue(unit (get "bank"))
                let q = (get "q").requires_grad_()
                let loss = InfoNce.Queue(q, get "k", queue.Rows, temperature)
                expectValue e dtype ((expected e "value").GetDouble()) loss "first step"
                loss.backward ()
                expectGradient e dtype "q" q
                queue.Enqueue(unit (get "k"))
                let second = InfoNce.Queue(get "q2", get "k2", queue.Rows, temperature)
                expectValue e dtype ((expected e "step2_value").GetDouble()) second "second step"
                queue.Enqueue(unit (get "k2"))
                expectRows e "bank_after" dtype queue.Rows
                Expect.equal (queue.Position.item<int64>()) ((expected e "ptr_after").GetInt64()) "position")

            one "moco.builder.2steps" (fun e get temperature ->
                let momentum = e.GetProperty("params").GetProperty("m").GetDouble()
                // There the queue's vectors are columns.
                use queue = new FeatureQueue(unit ((get "queue").t().contiguous()))
                let wq = get "wq"
                let mutable wk = get "wk"
                let image = (get "im_q").requires_grad_()

                let follow (key: string) =
                    wk <- wk.mul(momentum.ToScalar()).add(wq.mul ((1. - momentum).ToScalar()))
                    expectRows e key dtype wk

                let step (images: torch.Tensor) (others: string) =
                    let k = (get others).matmul(wk.t ())
                    let loss = InfoNce.Queue(images.matmul (wq.t ()), k, queue.Rows, temperature)
                    queue.Enqueue(unit k)
                    loss

                follow "key_weight_after_step1"
                let k = (get "im_k").matmul(wk.t ())
                let first = InfoNce.Queue(image.matmul (wq.t ()), k, queue.Rows, temperature)
                expectValue e dtype ((expected e "value").GetDouble()) first "first step"
                first.backward ()
                expectGradient e dtype "im_q" image
                queue.Enqueue(unit k)
                Expect.equal (queue.Position.item<int64>()) 4L "position after the first step"
                follow "key_weight_after_step2"
                let second = step (get "im_q2") "im_k2"
                expectValue e dtype ((expected e "step2_value").GetDouble()) second "second step"
                expectRows e "queue_after_step2" dtype (queue.Rows.t ())
                Expect.equal (queue.Position.item<int64>()) 8L "position after the second step")
    ]

/// The three losses as functions of the input that carries the gradient, with everything else fixed.
let private forms =
    let others () = matrix 2 5 4
    let queue () = unit (matrix 3 9 4)

    [
        "queue",
        (fun (x: torch.Tensor) -> InfoNce.Queue(x, (others ()), (queue ()), 0.2)),
        (fun x -> naiveQueue x (rowsOf (others ())) (rowsOf (queue ())) 0.2)
        "batch", (fun x -> InfoNce.Batch(x, (others ()), 0.2)), (fun x -> 0.4 * naiveBatch x (rowsOf (others ())) 0.2)
        "neighbours",
        (fun x -> InfoNce.Neighbours((others ()), x, 0.2)),
        (fun x -> naiveBatch (rowsOf (others ())) x 0.2)
    ]

[<Tests>]
let tests =
    testList
        "infonce"
        [
            testList "golden" golden

            for name, form, naive in forms do
                test $"{name}: loops from the paper, gradient by finite differences" {
                    use scope = torch.NewDisposeScope()
                    let x = arbitrary 1 (5 * 4)
                    let t = (tensor [| 5L; 4L |] x).requires_grad_()
                    let loss = form t
                    let loops (values: float[]) = naive (Array.chunkBySize 4 values)
                    Expect.isTrue (Golden.close 1e-10 0. (loops x) (scalar loss)) "value"
                    loss.backward ()

                    doubles t.grad
                    |> Array.iteri (fun i gradient ->
                        let moved d =
                            scalar (form (tensor [| 5L; 4L |] (Array.mapi (fun j v -> if i = j then v + d else v) x)))

                        let difference = (moved 1e-6 - moved -1e-6) / 2e-6

                        Expect.isTrue
                            (Golden.close 1e-6 1e-8 difference gradient)
                            $"element {i}: {difference} against {gradient}")
                }

            test "every size equals the loops from the paper" {
                for n in [ 1; 2; 7 ] do
                    for k in [ 1; 3; 20 ] do
                        for width in [ 1; 2; 6 ] do
                            for temperature in [ 0.05; 0.5; 2. ] do
                                use scope = torch.NewDisposeScope()
                                let q, key, rows = matrix 1 n width, matrix 2 n width, unit (matrix 3 k width)

                                let check what expected got =
                                    Expect.isTrue
                                        (Golden.close 1e-9 1e-11 expected (scalar got))
                                        $"{what}: {n} × {width} against {k} at {temperature}"

                                check
                                    "queue"
                                    (naiveQueue (rowsOf q) (rowsOf key) (rowsOf rows) temperature)
                                    (InfoNce.Queue(q, key, rows, temperature))

                                let batch = naiveBatch (rowsOf q) (rowsOf key) temperature
                                check "batch" (2. * temperature * batch) (InfoNce.Batch(q, key, temperature))
                                check "neighbours" batch (InfoNce.Neighbours(q, key, temperature))
            }

            test "a queue at small temperatures, in single precision" {
                use scope = torch.NewDisposeScope()
                let q, key, rows = matrix 1 6 16, matrix 2 6 16, unit (matrix 3 40 16)
                let single (t: torch.Tensor) = t.``to`` (torch.ScalarType.Float32)

                for temperature in [ 0.2; 0.07; 0.02; 0.015; 0.01; 0.004 ] do
                    let expected = naiveQueue (rowsOf q) (rowsOf key) (rowsOf rows) temperature
                    let x = (single q).detach().requires_grad_ true
                    let loss = InfoNce.Queue(x, single key, single rows, temperature)
                    loss.backward ()
                    let got = float (loss.item<single>())
                    Expect.isTrue (Golden.close 1e-5 1e-6 expected got) $"{got} for {expected} at {temperature}"
                    Expect.all (doubles x.grad) Double.IsFinite $"gradient at {temperature}"
            }

            test "the order of pairs, the order of the queue and the length of vectors do not matter" {
                use scope = torch.NewDisposeScope()
                let q, k, rows = matrix 1 6 4, matrix 2 6 4, unit (matrix 3 9 4)
                let order = torch.tensor [| 3L; 0L; 5L; 1L; 4L; 2L |]
                let moved (t: torch.Tensor) = t.index_select (0L, order)

                let lengths = tensor [| 6L; 1L |] [| 1.; 2.; 0.1; 30.; 0.5; 7. |]

                let same what (a: torch.Tensor) (b: torch.Tensor) =
                    Expect.floatClose Accuracy.high (scalar a) (scalar b) what

                let loss q k rows = InfoNce.Queue(q, k, rows, 0.3)
                same "pairs" (loss (moved q) (moved k) rows) (loss q k rows)
                same "queue" (loss q k (rows.flip [| 0L |])) (loss q k rows)
                same "lengths" (loss (q.mul lengths) (k.mul (lengths.flip [| 0L |])) rows) (loss q k rows)
                same "batch" (InfoNce.Batch(moved q, moved k, 0.3)) (InfoNce.Batch(q, k, 0.3))
                let apart = scalar (loss (moved q) k rows) - scalar (loss q k rows)
                Expect.isGreaterThan (abs apart) 1e-3 "other pairs are another loss"
            }

            test "no gradient reaches keys, queue and neighbours" {
                use scope = torch.NewDisposeScope()
                let grad (t: torch.Tensor) = t.requires_grad_ ()
                let q, k, rows = grad (matrix 1 4 3), grad (matrix 2 4 3), grad (unit (matrix 3 5 3))

                InfoNce
                    .Queue(q, k, rows, 0.2)
                    .add(InfoNce.Batch(q, k, 0.2))
                    .add(InfoNce.Neighbours(k, q, 0.2))
                    .backward()

                Expect.isNotNull q.grad "queries"
                Expect.isNull k.grad "keys"
                Expect.isNull rows.grad "queue"
            }

            test "at collapse the levels are exact and gradients finite" {
                for _, dtype in dtypes do
                    for fill in [ 1.; 0. ] do
                        use scope = torch.NewDisposeScope()

                        let rows (n: int64) =
                            torch.full ([| n; 5L |], fill.ToScalar(), dtype = dtype)

                        let check what expected (loss: torch.Tensor -> torch.Tensor) =
                            let q = (rows 4L).requires_grad_()
                            let value = loss q
                            value.backward ()
                            Expect.isTrue (Golden.close 1e-6 0. expected (scalar value)) $"{what}, all rows {fill}"
                            Expect.all (doubles q.grad) Double.IsFinite $"{what}: gradient where all rows are {fill}"

                        check "queue" (InfoNce.Chance 5) (fun q -> InfoNce.Queue(q, rows 4L, unit (rows 5L), 0.1))
                        check "batch" (0.2 * InfoNce.BatchChance 4) (fun q -> InfoNce.Batch(q, rows 4L, 0.1))
                        check "neighbours" (InfoNce.BatchChance 4) (fun q -> InfoNce.Neighbours(rows 4L, q, 0.1))

                Expect.floatClose Accuracy.high (InfoNce.Chance 5) 1.79175946923 "ln 6, the closed form of the file"
            }

            test "chance where similarities scatter: ln(1+K) + σ²/(2τ²)" {
                use scope = torch.NewDisposeScope()
                let n, k, width, temperature = 256, 2048, 64, 0.5

                let random rows seed =
                    use queue = FeatureQueue.Random(rows, width, seed, torch.CPU)
                    queue.Rows.clone ()

                let loss = scalar (InfoNce.Queue(random n 1UL, random n 2UL, random k 3UL, temperature))
                // The cosine of two random directions in d dimensions has variance 1/d.
                let expected = InfoNce.Chance k + 1. / (2. * float width * temperature * temperature)

                Expect.isLessThan (abs (loss - expected)) 0.03 $"{loss} against {expected}"
            }

            test "a sure answer keeps its digits in float32" {
                use scope = torch.NewDisposeScope()
                let q = torch.tensor([| 1f; 0f |]).reshape(1L, 2L)
                let loss = scalar (InfoNce.Queue(q, q, q.neg (), 0.1))
                Expect.isTrue (Golden.close 1e-5 0. (exp -20.) loss) $"{loss}"
            }

            test "other shapes and temperatures are refused with a clear message" {
                use scope = torch.NewDisposeScope()

                let zeros (n: int) (d: int) = torch.zeros (int64 n, int64 d)

                Expect.stringContains
                    (message (fun () -> InfoNce.Queue(zeros 4 3, zeros 5 3, zeros 9 3, 0.1)))
                    "two times (N, d) with N ≥ 1, received (4, 3) and (5, 3)"
                    "pairs"

                Expect.stringContains
                    (message (fun () -> InfoNce.Queue(zeros 4 3, zeros 4 3, zeros 9 2, 0.1)))
                    "expected (K, 3) with K ≥ 1, received (9, 2)"
                    "queue"

                Expect.stringContains
                    (message (fun () -> InfoNce.Batch(zeros 4 3, zeros 4 3, 0.)))
                    "received 0"
                    "temperature"

                Expect.stringContains
                    (message (fun () -> InfoNce.Neighbours(torch.zeros 4L, torch.zeros 4L, 0.1)))
                    "received (4)"
                    "one dimension"
            }

            test "nothing is left behind" {
                use scope = torch.NewDisposeScope()
                let a, b, rows = torch.rand (4L, 3L), torch.rand (4L, 3L), unit (torch.rand (6L, 3L))
                InfoNce.Queue(a, b, rows, 0.1) |> ignore
                let before = LiveTensors.settled ()

                for _ in 1..3 do
                    use first = InfoNce.Queue(a, b, rows, 0.1)
                    use second = InfoNce.Batch(a, b, 0.1)
                    use third = InfoNce.Neighbours(a, b, 0.1)
                    ignore (first, second, third)

                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }
        ]

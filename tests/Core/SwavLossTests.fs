module Tests.Core.SwavLossTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

/// Sinkhorn as the authors write it down, loop by loop, on rows of images.
let private naiveCodes (scores: float[][]) epsilon iterations =
    let n, k = scores.Length, scores[0].Length
    let q = scores |> Array.map (Array.map (fun s -> exp (s / epsilon)))

    let scale f =
        q
        |> Array.iteri (fun i row -> row |> Array.iteri (fun j x -> row[j] <- f i j x))

    let total = q |> Array.sumBy Array.sum
    scale (fun _ _ x -> x / total)

    for _ in 1..iterations do
        let columns = Array.init k (fun j -> q |> Array.sumBy (fun row -> row[j]))
        scale (fun _ j x -> x / columns[j] / float k)
        let rows = q |> Array.map Array.sum
        scale (fun i _ x -> x / rows[i] / float n)

    scale (fun _ _ x -> x * float n)
    q

/// Eq. 2 of the paper over all pairs of a coded crop and another crop.
let private naiveLoss (scores: float[][][]) (codes: float[][][]) temperature =
    let logSoftmax (row: float[]) =
        let total = row |> Array.sumBy (fun s -> exp (s / temperature)) |> log
        row |> Array.map (fun s -> s / temperature - total)

    [
        for a in 0 .. codes.Length - 1 do
            for v in 0 .. scores.Length - 1 do
                if v <> a then
                    for i in 0 .. codes[a].Length - 1 do
                        let q, l = codes[a][i], logSoftmax (scores[v][i])
                        -(Array.fold2 (fun s q l -> s + q * l) 0. q l)
    ]
    |> List.average

/// Inputs as leaves of one precision.
let private leaf (e: JsonElement) double (name: string) =
    let dtype = if double then torch.float64 else torch.float32
    (Golden.input name e ||> tensor).``to``(dtype).requires_grad_()

let private checkGradients (e: JsonElement) double (leaves: (string * torch.Tensor) list) =
    let bound = Golden.gradientBound e double

    for name, t in leaves do
        let summary = e.GetProperty("expected").GetProperty("grad").GetProperty name
        let g = doubles t.grad
        let norm = sqrt (summary.GetProperty("sumsq").GetDouble())
        Golden.agrees $"norm of gradient {name}" bound 0. norm (sqrt (Array.sumBy (fun x -> x * x) g))

        Golden.floats (summary.GetProperty "first6")
        |> Array.iteri (fun i x -> Golden.agrees $"gradient {name}[{i}]" 0. (bound * norm) x g[i])

let private golden =
    [
        for e in Golden.family "losses" [ "sinkhorn"; "swav"; "swav_pair" ] do
            let id = Golden.id e

            for double in [ true; false ] do
                let precision = if double then "float64" else "float32"

                let p (name: string) =
                    e.GetProperty("params").GetProperty name

                if id.StartsWith "sinkhorn." then
                    test $"golden {id} {precision}" {
                        use scope = torch.NewDisposeScope()

                        let codes =
                            Sinkhorn.Codes(leaf e double "s0", (p "epsilon").GetDouble(), (p "iterations").GetInt32())

                        let expected =
                            [|
                                for row in e.GetProperty("expected").GetProperty("Q").EnumerateArray() do
                                    yield! Golden.floats row
                            |]

                        let bound = Golden.bound e double

                        Array.zip expected (doubles codes)
                        |> Array.iteri (fun i (want, got) ->
                            Golden.agrees $"Q[{i}]" (bound "rtol") (bound "atol") want got)

                        Expect.isFalse codes.requires_grad "detached"
                    }

                if id.StartsWith "swav" then
                    test $"golden {id} {precision}" {
                        use scope = torch.NewDisposeScope()
                        let queue = id.StartsWith "swav.queue"

                        let names = [ for i in e.GetProperty("inputs").EnumerateObject() -> i.Name ] |> List.sort

                        let leaves = [ for name in names -> name, leaf e double name ]
                        let crops = if queue then List.take 2 leaves else leaves
                        let scores = torch.cat (ResizeArray(List.map snd crops), 0L)
                        let images = (snd crops.Head).shape[0]

                        let queued =
                            if queue then
                                torch.cat (ResizeArray(leaves |> List.skip 2 |> List.map snd), 0L)
                            else
                                null

                        let epsilon = (p (if queue then "sinkhorn_epsilon" else "epsilon")).GetDouble()
                        let iterations = (p "sinkhorn_iterations").GetInt32()
                        let codes = SwavLoss.Codes(scores.narrow (0, 0, 2L * images), queued, epsilon, iterations)
                        let loss = SwavLoss.Loss(scores, codes, crops.Length, (p "temperature").GetDouble())
                        loss.backward ()
                        let bound = Golden.bound e double
                        let want = e.GetProperty("expected").GetProperty("value").GetDouble()
                        Golden.agrees "value" (bound "rtol") (bound "atol") want (scalar loss)
                        checkGradients e double crops

                        for name, t in leaves |> List.skip crops.Length do
                            Expect.isNull t.grad $"no gradient reaches the queue's {name}"
                    }
    ]

[<Tests>]
let tests =
    testList
        "swav loss"
        [
            testList "golden" golden

            test "sinkhorn equals loops, and uses all prototypes equally in the end" {
                for images, prototypes in [ 1, 2; 6, 3; 5, 5; 24, 7 ] do
                    for epsilon in [ 0.05; 0.5 ] do
                        for iterations in [ 0; 1; 3; 200 ] do
                            use scope = torch.NewDisposeScope()
                            let scores = arbitrary images (images * prototypes)
                            let codes = doubles (Sinkhorn.Codes(matrix images images prototypes, epsilon, iterations))
                            let naive = naiveCodes (Array.chunkBySize prototypes scores) epsilon iterations

                            Array.zip (Array.concat naive) codes
                            |> Array.iteri (fun i (want, got) -> Golden.agrees $"Q[{i}]" 1e-9 1e-12 want got)

                            if iterations > 0 then
                                for row in Array.chunkBySize prototypes codes do
                                    Golden.agrees "a row's sum" 1e-12 0. 1. (Array.sum row)

                            if iterations = 200 && epsilon = 0.5 then
                                for j in 0 .. prototypes - 1 do
                                    let used = Seq.init images (fun i -> codes[i * prototypes + j]) |> Seq.sum
                                    Golden.agrees "use of a prototype" 1e-6 0. (float images / float prototypes) used
            }

            test "sinkhorn does not see a prototype's popularity, nor the order of images and prototypes" {
                use scope = torch.NewDisposeScope()
                let scores = matrix 3 8 5
                let codes = Sinkhorn.Codes(scores, 0.1, 3)

                let same what (expected: torch.Tensor) (got: torch.Tensor) =
                    Array.iter2 (Golden.agrees what 1e-9 1e-13) (doubles expected) (doubles got)

                let popularity = torch.tensor [| 0.3; -0.2; 0.5; 0.; 0.1 |]
                same "popularity" codes (Sinkhorn.Codes(scores.add popularity, 0.1, 3))
                let images = torch.tensor [| 3L; 0L; 7L; 1L; 2L; 6L; 5L; 4L |]
                let prototypes = torch.tensor [| 4L; 2L; 0L; 1L; 3L |]

                let rearranged (t: torch.Tensor) =
                    t.index_select(0, images).index_select(1, prototypes)

                same "order" (rearranged codes) (Sinkhorn.Codes(rearranged scores, 0.1, 3))
            }

            test "sinkhorn stays finite in float32 where scores are far apart" {
                use scope = torch.NewDisposeScope()
                let scores = (matrix 2 6 4).mul(torch.tensor 40.).``to``(torch.float32)
                Expect.all (doubles (Sinkhorn.Codes(scores, 0.05, 3))) Double.IsFinite "codes"

                Expect.all
                    (doubles (Sinkhorn.Codes(scores.mul (torch.tensor 50f), 0.05, 0)))
                    Double.IsFinite
                    "0 iterations"
            }

            test "the loss equals loops from the paper" {
                for images in [ 1; 4 ] do
                    for prototypes in [ 1; 6 ] do
                        for crops in [ 2; 3; 8 ] do
                            for coded in [ 1..2 ] do
                                use scope = torch.NewDisposeScope()
                                let scores = matrix crops (crops * images) prototypes
                                let codes = Sinkhorn.Codes(scores.narrow (0, 0, int64 (coded * images)), 0.3, 2)

                                let rows (t: torch.Tensor) =
                                    doubles t |> Array.chunkBySize prototypes |> Array.chunkBySize images

                                let expected = naiveLoss (rows scores) (rows codes) 0.2

                                Golden.agrees
                                    "loss"
                                    1e-10
                                    1e-12
                                    expected
                                    (scalar (SwavLoss.Loss(scores, codes, crops, 0.2)))
            }

            test "the gradient equals finite differences, and none reaches the codes" {
                let rows, width, h = 12, 3, 1e-6
                let z = arbitrary 3 (rows * width)
                use scope = torch.NewDisposeScope()
                let codes = (Sinkhorn.Codes(matrix 5 6 width, 0.3, 3)).requires_grad_()

                let loss (values: float[]) =
                    SwavLoss.Loss(tensor [| int64 rows; int64 width |] values, codes, 4, 0.2)

                let t = (tensor [| int64 rows; int64 width |] z).requires_grad_()
                SwavLoss.Loss(t, codes, 4, 0.2).backward()
                Expect.isNull codes.grad "no gradient for the codes"

                doubles t.grad
                |> Array.iteri (fun i gradient ->
                    let moved d =
                        scalar (loss (Array.mapi (fun j x -> if i = j then x + d else x) z))

                    Golden.agrees $"element {i}" 1e-6 1e-8 ((moved h - moved -h) / (2. * h)) gradient)
            }

            test "the loss does not see the order of images, of small crops, of the two large ones" {
                use scope = torch.NewDisposeScope()
                let crops, images, width = 5, 4, 6
                let scores = matrix 7 (crops * images) width

                let value (order: int list) (within: int64 list) =
                    let picked =
                        [
                            for v in order do
                                for i in within -> int64 (v * images) + i
                        ]

                    let s = scores.index_select (0, torch.tensor (Array.ofList picked))

                    scalar (
                        SwavLoss.Loss(s, SwavLoss.Codes(s.narrow (0, 0, 2L * int64 images), null, 0.1, 3), crops, 0.1)
                    )

                let expected = value [ 0; 1; 2; 3; 4 ] [ 0L; 1L; 2L; 3L ]
                Golden.agrees "images" 1e-10 0. expected (value [ 0; 1; 2; 3; 4 ] [ 2L; 0L; 3L; 1L ])
                Golden.agrees "small crops" 1e-10 0. expected (value [ 0; 1; 4; 2; 3 ] [ 0L; 1L; 2L; 3L ])
                Golden.agrees "large crops" 1e-10 0. expected (value [ 1; 0; 2; 3; 4 ] [ 0L; 1L; 2L; 3L ])
                let mixed = value [ 2; 1; 0; 3; 4 ] [ 0L; 1L; 2L; 3L ]
                Expect.isGreaterThan (abs (mixed - expected)) 1e-3 "a small crop in a large one's place is another loss"
            }

            test "equal embeddings have uniform codes and cost ln K at best, with finite gradients" {
                for dtype in [ torch.float32; torch.float64 ] do
                    for fill in [ 0.; 1.; -0.7 ] do
                        use scope = torch.NewDisposeScope()
                        let scores = torch.full([| 12L; 8L |], fill.ToScalar(), dtype = dtype).requires_grad_()
                        let codes = SwavLoss.Codes(scores.narrow (0, 0, 6L), null, 0.05, 3)
                        Expect.all (doubles codes) (fun q -> abs (q - 1. / 8.) < 1e-6) "uniform codes"
                        let loss = SwavLoss.Loss(scores, codes, 4, 0.1)
                        loss.backward ()
                        Golden.agrees $"all scores {fill}" 1e-6 0. (log 8.) (scalar loss)
                        Expect.all (doubles scores.grad) Double.IsFinite "gradient"

                    use scope = torch.NewDisposeScope()
                    let row = (matrix 1 1 8).``to``(dtype)
                    let scores = row.expand (12L, 8L)
                    let codes = SwavLoss.Codes(scores.narrow (0, 0, 6L), null, 0.05, 3)
                    Expect.all (doubles codes) (fun q -> abs (q - 1. / 8.) < 1e-6) "uniform codes of equal rows"
                    Expect.isGreaterThan (scalar (SwavLoss.Loss(scores, codes, 4, 0.1))) (log 8.) "no better than ln K"

                Expect.floatClose Accuracy.high (SwavLoss.Chance 8) (log 8.) "the stated chance level"
            }

            test "a queue changes the codes as if its rows were more images" {
                use scope = torch.NewDisposeScope()
                let own, queued = matrix 1 6 4, matrix 9 10 4
                let codes = SwavLoss.Codes(own, queued, 0.1, 3)

                for crop in [ 0L; 1L ] do
                    let rows = torch.cat ([| queued.narrow (0, crop * 5L, 5L); own.narrow (0, crop * 3L, 3L) |], 0L)
                    let expected = Sinkhorn.Codes(rows, 0.1, 3).narrow(0, 5L, 3L)

                    Array.iter2
                        (Golden.agrees "code" 1e-9 1e-12)
                        (doubles expected)
                        (doubles (codes.narrow (0, crop * 3L, 3L)))
            }

            test "wrong shapes and settings are refused with a clear message" {
                use scope = torch.NewDisposeScope()
                let zeros (shape: int64 list) = torch.zeros (Array.ofList shape)

                let says part f =
                    Expect.stringContains (message f) part part

                says "expected (N, K), received (4)" (fun () -> Sinkhorn.Codes(zeros [ 4L ], 0.05, 3))
                says "ε must be positive; received 0" (fun () -> Sinkhorn.Codes(zeros [ 4L; 2L ], 0., 3))
                says "0 or more; received -1" (fun () -> Sinkhorn.Codes(zeros [ 4L; 2L ], 0.1, -1))
                says "expected (2N, K)" (fun () -> SwavLoss.Codes(zeros [ 3L; 2L ], null, 0.1, 3))

                says "expected (2Q, 2), received (4, 3)" (fun () ->
                    SwavLoss.Codes(zeros [ 4L; 2L ], zeros [ 4L; 3L ], 0.1, 3))

                let loss scores codes crops temperature () =
                    SwavLoss.Loss(zeros scores, zeros codes, crops, temperature)

                says "V = 3" (loss [ 8L; 2L ] [ 4L; 2L ] 3 0.1)
                says "(A·4, 2)" (loss [ 8L; 2L ] [ 3L; 2L ] 2 0.1)
                says "(A·4, 2)" (loss [ 8L; 2L ] [ 4L; 5L ] 2 0.1)
                says "must be positive; received 0" (loss [ 8L; 2L ] [ 4L; 2L ] 2 0.)
            }

            test "codes and loss leave no tensors behind" {
                use scope = torch.NewDisposeScope()
                use scores = torch.rand (8L, 4L)
                use queued = torch.rand (6L, 4L)

                let once () =
                    use codes = SwavLoss.Codes(scores.narrow (0, 0, 4L), queued, 0.1, 3)
                    use loss = SwavLoss.Loss(scores, codes, 4, 0.1)
                    ignore loss

                let once () =
                    use scope = torch.NewDisposeScope()
                    once ()

                once ()
                let before = LiveTensors.settled ()

                for _ in 1..3 do
                    once ()

                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }
        ]

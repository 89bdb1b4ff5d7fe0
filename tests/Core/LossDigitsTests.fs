/// Losses in float32 against themselves in float64, where sums are large and what is asked of them is small, and what is not finite.
module Tests.Core.LossDigitsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

/// Embeddings of some rank, in float32 and the same numbers in float64: one dimension or all scaled, or moved far away.
let private embeddings =
    [
        for scale in [ 1e-3; 0.1; 1.; 30.; 1e4 ] do
            $"all × {scale}", (fun _ x -> scale * x)
            $"one × {scale}", (fun c x -> if c = 1 then scale * x else x)

        "mean 1000", (fun _ x -> 1000. + x)
        "one mean 1000", (fun c x -> if c = 1 then 1000. + x else x)
    ]

let private form seed rows width change =
    unstructured seed (rows * width)
    |> Array.mapi (fun i x -> change (i % width) x |> float32 |> float)

/// Value and gradients of a loss of two views.
let private valued (loss: torch.Tensor -> torch.Tensor -> torch.Tensor) (dtype: torch.ScalarType) rows width a b =
    let leaf (values: float[]) =
        (tensor [| int64 rows; int64 width |] values).``to``(dtype).requires_grad_()

    let a, b = leaf a, leaf b
    let value = loss a b
    value.backward ()

    let gradient (t: torch.Tensor) =
        if isNull t.grad then [||] else doubles t.grad

    Expect.equal value.dtype dtype "dtype"
    scalar value, Array.append (gradient a) (gradient b)

let private norm (x: float[]) = sqrt (Array.sumBy (fun v -> v * v) x)

let private agreeing name rows width (loss: torch.Tensor -> torch.Tensor -> torch.Tensor) =
    [
        for what, change in embeddings do
            test $"{name}, {rows} × {width}, {what}" {
                use scope = torch.NewDisposeScope()
                let a, b = form 1. rows width change, form 2. rows width change
                let exact, exactGradient = valued loss torch.float64 rows width a b
                let got, gradient = valued loss torch.float32 rows width a b
                Golden.agrees "value" 1e-4 0. exact got
                let error = Array.map2 (-) exactGradient gradient |> norm
                Expect.isLessThanOrEqual error (1e-4 * norm exactGradient) "gradient, as a part of its norm"
            }
    ]

/// Numbers of float32, in the type of the embeddings.
let private directions width (z: torch.Tensor) =
    torch.nn.functional.normalize(matrix 5 width 9, 2., 0L).``to``(torch.float32).``to``(z.dtype: torch.ScalarType)

let private twins =
    [
        for rows, width in [ 12, 5; 6, 20 ] do
            for covariance in Enum.GetValues<VicRegCovariance>() do
                // The covariance term by itself, as nothing else must hide it.
                yield!
                    agreeing $"VICReg's covariance, {covariance}" rows width (fun a b ->
                        VicRegLoss.Loss(a, b, VicRegTerms(0., 0., 1., true, covariance)))

            yield!
                agreeing "VICReg" rows width (fun a b ->
                    VicRegLoss.Loss(a, b, VicRegTerms(25., 25., 1., true, VicRegCovariance.OverDimensions)))

            for deviation in Enum.GetValues<BarlowDeviation>() do
                yield!
                    agreeing $"Barlow Twins, {deviation}" rows width (fun a b ->
                        BarlowTwinsLoss.Loss(a, b, 0.005, 1., deviation))

            yield! agreeing "SIGReg" rows width (fun a _ -> SigReg.Loss(a, directions width a, 17, 3.))

            yield!
                agreeing "LeJEPA" rows width (fun a b ->
                    LeJepaLoss.Loss(torch.stack (ResizeArray [ a; b ], 0L), 1, directions width a, 0.1, 17, 5.))

            yield! agreeing "KoLeo" rows width (fun a _ -> KoLeoLoss.Loss a)
    ]

/// Rows that hardly differ: by one part in so many.
let private near =
    [
        for parts in [ 10.; 1e3; 1e5 ] do
            test $"KoLeo of rows that differ by one part in {parts}" {
                use scope = torch.NewDisposeScope()
                let rows, width = 8, 6

                let values =
                    Array.init (rows * width) (fun i ->
                        float (float32 (1. + sin (float (i % width)) + sin (1.7 * float (i * i)) / parts)))

                let loss (a: torch.Tensor) (_: torch.Tensor) = KoLeoLoss.Loss a
                let exact, exactGradient = valued loss torch.float64 rows width values values
                let got, gradient = valued loss torch.float32 rows width values values
                Golden.agrees "value" 1e-4 0. exact got
                let error = Array.map2 (-) exactGradient gradient |> norm
                Expect.isLessThanOrEqual error (1e-4 * norm exactGradient) "gradient"
            }

        test "decorrelated dimensions of very different size never cost less than nothing" {
            use scope = torch.NewDisposeScope()
            // Four rows of ±1 that are orthogonal to each other and to the mean: no covariance at all.
            let signs = [| 1.; 1.; 1.; 1.; -1.; -1.; -1.; 1.; -1.; -1.; -1.; 1. |]

            for scale in [ 1.; 1e2; 1e4 ] do
                let z =
                    torch
                        .tensor(signs |> Array.mapi (fun i x -> float32 (if i % 3 = 0 then scale * x else x)))
                        .reshape(4L, 3L)

                let value = VicRegLoss.Loss(z, z, VicRegTerms(0., 0., 1., true, VicRegCovariance.Mean))
                Expect.equal (scalar value) 0. $"scale {scale}"
        }
    ]

/// Sinkhorn of logarithms, in double and with nothing taken as 0.
let private exactCodes (scores: float[][]) epsilon iterations =
    let sum (x: seq<float>) =
        let top = Seq.max x
        top + log (x |> Seq.sumBy (fun v -> exp (v - top)))

    let mutable logs = scores |> Array.map (Array.map (fun s -> s / epsilon))

    for _ in 1..iterations do
        let columns = Array.init logs[0].Length (fun j -> logs |> Seq.map (fun row -> row[j]) |> sum)
        logs <- logs |> Array.map (Array.mapi (fun j x -> x - columns[j]))
        logs <- logs |> Array.map (fun row -> row |> Array.map (fun x -> x - sum row))

    logs |> Array.map (Array.map exp)

let private sinkhorn =
    [
        for dtype in [ torch.float32; torch.float64 ] do
            for epsilon in [ 1.; 0.05; 0.01; 1e-3; 1e-5 ] do
                test $"Sinkhorn, ε = {epsilon}, {dtype}: every row sums to 1 and is that of the logarithms" {
                    use scope = torch.NewDisposeScope()

                    for rows, width in [ 6, 4; 3, 9 ] do
                        let scores =
                            unstructured 3. (rows * width)
                            |> Array.map (float32 >> float)
                            |> Array.chunkBySize width

                        // One row far below the others.
                        scores[1] <- scores[1] |> Array.map (fun x -> float (float32 (0.02 * x - 0.97)))
                        let x = (tensor [| int64 rows; int64 width |] (Array.concat scores)).``to`` dtype

                        for iterations in [ 1; 3 ] do
                            let got = doubles (Sinkhorn.Codes(x, epsilon, iterations))

                            for row in Array.chunkBySize width got do
                                Golden.agrees "sum of a row" 1e-5 0. 1. (Array.sum row)

                            let bound = if dtype = torch.float64 then 1e-9 else 1e-5

                            Array.iter2
                                (Golden.agrees $"{rows} × {width}, {iterations} iterations" bound bound)
                                (Array.concat (exactCodes scores epsilon iterations))
                                got
                }

        test "Sinkhorn, small ε: patches that take no part stay 0 and change nothing" {
            use scope = torch.NewDisposeScope()
            let crops, patches, width = 2L, 3L, 4L
            let teacher = tensor [| crops; patches; width |] (unstructured 7. 24)
            let mask = tensor [| crops; patches |] [| 1.; 0.; 1.; 0.; 1.; 1. |]

            for dtype in [ torch.float32; torch.float64 ] do
                for temperature in [ 0.5; 1e-3 ] do
                    let got =
                        doubles (IbotLoss.Codes(teacher.``to`` dtype, mask.``to`` dtype, temperature, 3))
                        |> Array.chunkBySize 4

                    let rows = doubles (teacher.``to`` dtype) |> Array.chunkBySize 4
                    let present = [ 0; 2; 4; 5 ]
                    let want = exactCodes [| for i in present -> rows[i] |] temperature 3

                    present
                    |> List.iteri (fun n i ->
                        Array.iter2 (Golden.agrees $"patch {i} at {temperature}" 1e-5 1e-6) want[n] got[i])

                    for i in [ 1; 3 ] do
                        Expect.allEqual got[i] 0. $"patch {i}"
        }

        test "Sinkhorn keeps what is not a number" {
            use scope = torch.NewDisposeScope()
            let x = torch.tensor(Array.init 12 (fun i -> if i = 6 then nanf else 0f)).reshape(3L, 4L)
            let codes = doubles (Sinkhorn.Codes(x, 0.05, 3))
            Expect.exists codes Double.IsNaN "NaN"
        }
    ]

/// Losses as functions of their inputs, with shapes of these.
let private every: (string * int64[] list * (torch.Tensor list -> torch.Tensor)) list =
    let pair = [ [| 4L; 16L |]; [| 4L; 16L |] ]
    let logits = [ [| 4L; 6L |] ]
    let bins = torch.tensor([| 0L; 1L; 2L; 3L; 4L; 5L; 1L; 0L |]).reshape(4L, 2L)

    let shares (like: torch.Tensor) =
        torch.full ([| 4L; 2L |], 0.5.ToScalar(), dtype = like.dtype)

    let targets (like: torch.Tensor) =
        torch.full (like.shape, (1. / 6.).ToScalar(), dtype = like.dtype)

    let ones (like: torch.Tensor) = torch.ones (2L, 2L, dtype = like.dtype)

    let two (f: torch.Tensor -> torch.Tensor -> torch.Tensor) =
        fun (t: torch.Tensor list) -> f t[0] t[1]

    let queue (like: torch.Tensor) =
        torch.nn.functional.normalize ((matrix 3 96 16).``to``(like.dtype: torch.ScalarType), 2., 1L)

    [
        "AbRegression", [ [| 4L; 2L |]; [| 4L; 2L |] ], two (fun a b -> AbRegression.Loss(a, b, 110., 1.))
        "Barlow Twins", pair, two (fun a b -> BarlowTwinsLoss.Loss(a, b, 0.005))
        "colour cross entropy", logits, (fun t -> ColourCrossEntropy.Loss(t[0], bins, shares t[0], null))
        "DINO", logits, (fun t -> DinoLoss.Loss(t[0], targets (t[0].narrow(0, 0, 2)), 2, 0.1))
        "frames squared", [ [| 1L; 2L; 2L |]; [| 1L; 2L; 2L |] ], two (fun a b -> FrameLoss.Squared(a, b))
        "frames absolute", [ [| 1L; 2L; 2L |]; [| 1L; 2L; 2L |] ], two (fun a b -> FrameLoss.Absolute(a, b))
        "iBOT", [ [| 2L; 2L; 6L |] ], (fun t -> IbotLoss.Loss(t[0], targets t[0], ones t[0], 0.1, PatchMean.Crops))
        "InfoNCE of a queue", pair, two (fun a b -> InfoNce.Queue(a, b, queue a, 0.2))
        "InfoNCE of a queue, sharp", pair, two (fun a b -> InfoNce.Queue(a, b, queue a, 0.005))
        "InfoNCE of a batch", pair, two (fun a b -> InfoNce.Batch(a, b, 0.2))
        "InfoNCE of neighbours", pair, two (fun a b -> InfoNce.Neighbours(a, b, 0.2))
        "JEPA, smooth", pair, two (fun a b -> JepaLoss.Loss(a, b, JepaDistance.SmoothL1))
        "JEPA, squared", pair, two (fun a b -> JepaLoss.Loss(a, JepaLoss.Normalised b, JepaDistance.Squared))
        "KoLeo", [ [| 4L; 16L |] ], (fun t -> KoLeoLoss.Loss t[0])
        "LeJEPA", [ [| 2L; 4L; 5L |] ], (fun t -> LeJepaLoss.Loss(t[0], 1, directions 5 t[0], 0.1, 17, 3.))
        "logit-Laplace", [ [| 4L |]; [| 4L |]; [| 4L |] ], (fun t -> LogitLaplace.Loss(t[0], t[1], t[2]))
        "hidden patches, squared", pair, two (fun a b -> MaskedPatchLoss.MeanSquare(a, MaskedPatchLoss.Normalise b))
        "hidden patches, absolute", pair, two (fun a b -> MaskedPatchLoss.MeanAbsolute(a, b))
        "negative cosine", pair, two (fun a b -> NegativeCosine.Loss(a, b))
        "NT-Xent", pair, two (fun a b -> NtXent.Loss(a, b, 0.5))
        "SIGReg", [ [| 4L; 5L |] ], (fun t -> SigReg.Loss(t[0], directions 5 t[0], 17, 3.))
        "SwAV", logits, (fun t -> SwavLoss.Loss(t[0], SwavLoss.Codes(t[0], null, 0.05, 3), 2, 0.1))
        "divergence from uniform", logits, (fun t -> UniformDivergence.Mean t[0])
        "VICReg",
        pair,
        two (fun a b -> VicRegLoss.Loss(a, b, VicRegTerms(25., 25., 1., true, VicRegCovariance.OverDimensions)))
        "VICReg without invariance",
        pair,
        two (fun a b -> VicRegLoss.Loss(a, b, VicRegTerms(0., 1., 1., false, VicRegCovariance.Mean)))
    ]

let private divergence =
    [
        for name, shapes, loss in every do
            test $"{name}: what is not finite in any input shows in the loss" {
                for dtype in [ torch.float32; torch.float64 ] do
                    let inputs poisoned (value: float) =
                        shapes
                        |> List.mapi (fun k shape ->
                            let n = Array.fold (*) 1L shape |> int
                            let values = unstructured (float k) n

                            if k = poisoned then
                                values[n / 2] <- value

                            (tensor shape values).``to`` dtype)

                    use scope = torch.NewDisposeScope()
                    Expect.isTrue (Double.IsFinite(scalar (loss (inputs -1 0.)))) $"finite inputs, {dtype}"

                    for k in 0 .. shapes.Length - 1 do
                        for value in [ nan; infinity; -infinity ] do
                            Expect.isFalse
                                (Double.IsFinite(scalar (loss (inputs k value))))
                                $"input {k} holds {value}, {dtype}"
            }
    ]

[<Tests>]
let tests =
    testList
        "digits of losses"
        [
            testList "large and small" (twins @ near)
            testList "sinkhorn" sinkhorn
            testList "not finite" divergence
        ]

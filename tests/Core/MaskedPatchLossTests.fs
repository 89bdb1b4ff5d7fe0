module Tests.Core.MaskedPatchLossTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Numbers
open Tests.Support.GoldenLoss
open Tests.Support.Networks

/// The rows that an entry's mask counts, of (N, P, D) as (M, D).
let private hidden (c: Case) (mask: string) (rows: torch.Tensor) =
    let places =
        doubles (c.Input mask)
        |> Array.indexed
        |> Array.filter (fun (_, m) -> m = 1.)
        |> Array.map (fst >> int64)

    rows.flatten(0, 1).index_select(0, torch.tensor places)

let private golden =
    testList
        "reference values"
        [
            yield!
                tests "mae.norm_pix_true" (fun c ->
                    let target = MaskedPatchLoss.Normalise(MaskedPatchLoss.Patchify(c.Input "imgs", 2))
                    MaskedPatchLoss.MeanSquare(hidden c "mask" (c.Input "pred"), hidden c "mask" target))

            yield!
                tests "mae.norm_pix_false" (fun c ->
                    let target = MaskedPatchLoss.Patchify(c.Input "imgs", 2)
                    MaskedPatchLoss.MeanSquare(hidden c "mask" (c.Input "pred"), hidden c "mask" target))

            yield!
                tests "simmim" (fun c ->
                    let patches name =
                        hidden c "mask" (MaskedPatchLoss.Patchify(c.Input name, 2))

                    MaskedPatchLoss.MeanAbsolute(patches "rec", patches "x"))

            test "the order inside a patch is the authors'" {
                read "mae.norm_pix_true" (fun c expected ->
                    let second = (MaskedPatchLoss.Patchify(c.Input "imgs", 2)).select(0, 0).select(0, 1)

                    Array.iter2
                        (close "value" 1e-6)
                        (Golden.floats (expected.GetProperty "patchify_first8"))
                        (Array.take 8 (doubles second)))
            }
        ]

/// Value of image n at channel, row and column of (N, C, H, W).
let private pixel (channels, height, width) (images: float[]) n c y x =
    images[((n * channels + c) * height + y) * width + x]

let private patches =
    testList
        "patches"
        [
            test "patches are loops over rows, columns, channels" {
                for channels, height, width, p in [ 3, 8, 8, 2; 1, 4, 6, 2; 3, 6, 4, 1; 2, 3, 9, 3 ] do
                    use scope = torch.NewDisposeScope()
                    let shape, values = arbitrary 1. [ 2L; int64 channels; int64 height; int64 width ]
                    let images = tensor shape values

                    let expected =
                        [|
                            for n in 0..1 do
                                for r in 0 .. height / p - 1 do
                                    for q in 0 .. width / p - 1 do
                                        for i in 0 .. p - 1 do
                                            for j in 0 .. p - 1 do
                                                for c in 0 .. channels - 1 ->
                                                    pixel (channels, height, width) values n c (r * p + i) (q * p + j)
                        |]

                    let got = MaskedPatchLoss.Patchify(images, p)
                    Expect.equal got.shape [| 2L; int64 (height * width / p / p); int64 (p * p * channels) |] "shape"
                    Expect.equal (doubles got) expected "values"
                    let back = MaskedPatchLoss.Unpatchify(got, p, height / p, width / p)
                    Expect.equal back.shape shape "images again"
                    Expect.equal (doubles back) values "the same ones"
            }

            test "normalised patches have mean 0 and unbiased variance 1, less the ε" {
                use scope = torch.NewDisposeScope()
                let shape, values = arbitrary 2. [ 2L; 3L; 12L ]
                let got = doubles (MaskedPatchLoss.Normalise((tensor shape values).requires_grad_()))
                let struct (means, deviations) = MaskedPatchLoss.Statistics(tensor shape values)
                let means, deviations = doubles means, doubles deviations

                for i, patch in Array.indexed (Array.chunkBySize 12 values) do
                    let mean = Array.average patch
                    let variance = (patch |> Array.sumBy (fun v -> (v - mean) ** 2.)) / 11.
                    close "mean" 1e-12 mean means[i]
                    close "deviation" 1e-12 (sqrt (variance + 1e-6)) deviations[i]

                    Array.iteri
                        (fun j v -> close "value" 1e-12 ((v - mean) / sqrt (variance + 1e-6)) got[i * 12 + j])
                        patch
            }

            test "a patch of one colour becomes 0, in both precisions" {
                for dtype in [ torch.float32; torch.float64 ] do
                    use scope = torch.NewDisposeScope()
                    let flat = torch.full ([| 1L; 2L; 12L |], (0.5).ToScalar(), dtype = dtype)
                    let got = MaskedPatchLoss.Normalise flat
                    Expect.equal got.dtype dtype "dtype"
                    Expect.all (doubles got) (fun v -> v = 0.) "zero"
            }

            test "impossible patches are refused" {
                let images = torch.zeros (2L, 3L, 6L, 8L)
                let refused f = refusal (fun () -> f ())

                Expect.stringContains
                    (refused (fun () -> MaskedPatchLoss.Patchify(images, 4)))
                    "patch of 4, received (2, 3, 6, 8)"
                    "side"

                Expect.stringContains (refused (fun () -> MaskedPatchLoss.Patchify(images, 0))) "patch of 0" "none"

                Expect.stringContains
                    (refused (fun () -> MaskedPatchLoss.Patchify(images[0], 2)))
                    "received (3, 6, 8)"
                    "rank"

                Expect.stringContains
                    (refused (fun () -> MaskedPatchLoss.Unpatchify(torch.zeros (2L, 6L, 12L), 2, 2, 2)))
                    "expected (N, 2 · 2, 2 · 2 · C), received (2, 6, 12)"
                    "count"

                Expect.stringContains
                    (refused (fun () -> MaskedPatchLoss.Unpatchify(torch.zeros (2L, 4L, 10L), 2, 2, 2)))
                    "received (2, 4, 10)"
                    "values"

                Expect.stringContains
                    (refused (fun () -> MaskedPatchLoss.Normalise(torch.zeros (2L, 1L))))
                    "D at least 2, received (2, 1)"
                    "one value"
            }
        ]

let private losses =
    testList
        "losses"
        [
            test "equal their formulas, in both precisions" {
                for rows, width in [ 1, 1; 3, 12; 20, 48 ] do
                    use scope = torch.NewDisposeScope()
                    let shape, y = arbitrary 1. [ int64 rows; int64 width ]
                    let _, x = arbitrary 2. [ int64 rows; int64 width ]

                    let mean f =
                        Array.map2 (fun a b -> f (a - b)) y x
                        |> Array.chunkBySize width
                        |> Array.averageBy Array.average

                    for loss, f in
                        [
                            (fun (a, b) -> MaskedPatchLoss.MeanSquare(a, b)), (fun d -> d * d)
                            (fun (a, b) -> MaskedPatchLoss.MeanAbsolute(a, b)), abs
                        ] do
                        for dtype, tolerance in [ torch.float64, 1e-12; torch.float32, 1e-5 ] do
                            let at (v: float[]) =
                                (tensor shape v).``to``(dtype: torch.ScalarType)

                            let got: torch.Tensor = loss (at y, at x)
                            Expect.equal got.dtype dtype "dtype"
                            close $"{rows} patches of {width}" tolerance (mean f) (scalar got)
            }

            test "gradients equal finite differences" {
                let _, target = arbitrary 5. [ 4L; 6L ]
                let x () = tensor [| 4L; 6L |] target
                let shapes = [ arbitrary 3. [ 4L; 6L ] ]
                finiteDifferences shapes (fun leaves -> MaskedPatchLoss.MeanSquare(leaves[0], x ()))
                finiteDifferences shapes (fun leaves -> MaskedPatchLoss.MeanAbsolute(leaves[0], x ()))

                finiteDifferences shapes (fun leaves ->
                    MaskedPatchLoss.MeanSquare(leaves[0], MaskedPatchLoss.Normalise(x ())))
            }

            test "no gradient reaches the target" {
                use scope = torch.NewDisposeScope()

                let leaf (seed: float) =
                    (arbitrary seed [ 3L; 4L ] ||> tensor).requires_grad_()

                for loss in
                    [
                        (fun (a, b) -> MaskedPatchLoss.MeanSquare(a, b))
                        (fun (a, b) -> MaskedPatchLoss.MeanAbsolute(a, b))
                        (fun (a, b) -> MaskedPatchLoss.MeanSquare(a, MaskedPatchLoss.Normalise b))
                    ] do
                    let prediction, target = leaf 1., leaf 2.
                    (loss (prediction, target): torch.Tensor).backward()
                    Expect.isNotNull prediction.grad "prediction"
                    Expect.isNull target.grad "target"
            }

            test "an exact prediction costs nothing and stays, whatever its values" {
                for fill in [ 0.; 1.; -3. ] do
                    for loss in
                        [
                            (fun (a, b) -> MaskedPatchLoss.MeanSquare(a, b))
                            (fun (a, b) -> MaskedPatchLoss.MeanAbsolute(a, b))
                        ] do
                        let got =
                            atCollapse fill [ [| 2L; 3L; 4L |]; [| 2L; 3L; 4L |] ] (fun leaves ->
                                loss (leaves[0], leaves[1]))

                        Expect.equal got 0. "loss"

                        use scope = torch.NewDisposeScope()
                        let y = torch.full([| 3L |], fill.ToScalar()).requires_grad_()
                        (loss (y, y.detach ()): torch.Tensor).backward()
                        Expect.all (doubles y.grad) (fun g -> g = 0.) "gradient"
            }

            test "predicting 0 for normalised patches costs the chance level" {
                for width in [ 2; 12; 48 ] do
                    use scope = torch.NewDisposeScope()
                    let target = MaskedPatchLoss.Normalise(arbitrary 4. [ 50L; int64 width ] ||> tensor)
                    let loss = MaskedPatchLoss.MeanSquare(torch.zeros_like target, target)
                    close $"{width} values" 1e-3 (MaskedPatchLoss.Chance width) (scalar loss)
            }

            test "shapes that do not fit, and nothing hidden, are refused" {
                let t (rows: int64) (width: int64) = torch.zeros (rows, width)

                for loss in
                    [
                        (fun (a, b) -> MaskedPatchLoss.MeanSquare(a, b))
                        (fun (a, b) -> MaskedPatchLoss.MeanAbsolute(a, b))
                    ] do
                    Expect.stringContains (refusal (fun () -> loss (t 2L 3L, t 3L 3L))) "(2, 3) and (3, 3)" "rows"
                    Expect.stringContains (refusal (fun () -> loss (t 0L 3L, t 0L 3L))) "(0, 3)" "nothing"
            }

            test "they leave no tensors behind" {
                use scope = torch.NewDisposeScope()
                let images = torch.rand (2L, 3L, 8L, 8L)
                let prediction = torch.rand (2L, 4L, 48L)

                leavesNothing (fun () ->
                    use patches = MaskedPatchLoss.Patchify(images, 4)
                    use target = MaskedPatchLoss.Normalise patches
                    MaskedPatchLoss.MeanSquare(prediction, target))

                leavesNothing (fun () -> MaskedPatchLoss.MeanAbsolute(images, images))
                leavesNothing (fun () -> MaskedPatchLoss.Unpatchify(prediction, 4, 2, 2))
            }
        ]

[<Tests>]
let tests = testList "losses on hidden patches" [ golden; patches; losses ]

module Tests.Core.ColourLossesTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Runtime
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private cpu = torch.device "cpu"

// ---- regression

let private regressionTests =
    testList
        "regression"
        [
            test "equals the formula" {
                for rows in [ 1; 2; 5; 16 ] do
                    for scale, unit in [ 1., 1.; 50., 20.; 128., 128. ] do
                        use scope = torch.NewDisposeScope()
                        let y = arbitrary rows (2 * rows)
                        let ab = arbitrary (rows + 1) (2 * rows) |> Array.map ((*) 90.)

                        let expected =
                            Array.map2 (fun y c -> ((scale * tanh y - c) / unit) ** 2.) y ab
                            |> Array.average

                        let shape = [| int64 rows; 2L |]

                        let loss = AbRegression.Loss(tensor shape y, tensor shape ab, scale, unit)

                        close "loss" 1e-12 expected (scalar loss)

                        let single =
                            AbRegression.Loss(
                                (tensor shape y).``to`` torch.float32,
                                (tensor shape ab).``to`` torch.float32,
                                scale,
                                unit
                            )

                        Expect.equal single.dtype torch.float32 "dtype"
                        close "float32" 1e-5 expected (scalar single)
            }

            test "gradient equals finite differences; none reaches the chroma" {
                use scope = torch.NewDisposeScope()
                let y, ab = arbitrary 1 8, arbitrary 2 8 |> Array.map ((*) 60.)
                let prediction = (tensor [| 4L; 2L |] y).requires_grad_()
                let chroma = (tensor [| 4L; 2L |] ab).requires_grad_()
                AbRegression.Loss(prediction, chroma, 100., 30.).backward()

                let f x =
                    scalar (AbRegression.Loss(tensor [| 4L; 2L |] x, tensor [| 4L; 2L |] ab, 100., 30.))

                Array.iter2 (close "gradient" 1e-7) (differences f y) (doubles prediction.grad)
                Expect.isNull chroma.grad "target"
            }

            test "the right prediction costs nothing, and without the scale no prediction is right" {
                use scope = torch.NewDisposeScope()
                let ab = [| 40.; -30.; 80.; 67. |]
                let target = tensor [| 2L; 2L |] ab
                let right = tensor [| 2L; 2L |] (ab |> Array.map (fun c -> Math.Atanh(c / 128.)))
                close "scaled" 1e-12 0. (scalar (AbRegression.Loss(right, target, 128., 128.)))

                // tanh against ab as they are: the best that can be had is ±1, where tanh has no gradient left.
                let signs = ab |> Array.map (fun c -> 20. * float (sign c))
                let saturated = (tensor [| 2L; 2L |] signs).requires_grad_()
                let loss = AbRegression.Loss(saturated, target, 1., 1.)
                loss.backward ()
                close "unscaled" 1e-9 (ab |> Array.averageBy (fun c -> (abs c - 1.) ** 2.)) (scalar loss)
                Expect.all (doubles saturated.grad) (fun g -> abs g < 1e-12) "no way on"
            }

            test "errors say what was wrong" {
                use scope = torch.NewDisposeScope()
                let t (r: int64) (c: int64) = torch.zeros (r, c)

                Expect.stringContains
                    (message (fun () -> AbRegression.Loss(t 2L 3L, t 2L 3L, 1., 1.)))
                    "received (2, 3)"
                    "columns"

                Expect.stringContains
                    (message (fun () -> AbRegression.Loss(t 2L 2L, t 3L 2L, 1., 1.)))
                    "(2, 2) and (3, 2)"
                    "rows"

                Expect.stringContains
                    (message (fun () -> AbRegression.Loss(t 2L 2L, t 2L 2L, 0., 1.)))
                    "received 0"
                    "scale"
            }
        ]

// ---- bins

let private bins = lazy (CieLab.GamutGrid 10 |> Seq.map (fun struct (a, b) -> a, b) |> Seq.toArray)

let private soft neighbours sigma =
    new SoftBins(CieLab.GamutGrid 10, 10, neighbours, sigma, cpu)

/// Nearest bins and shares, comparing with every bin.
let private naiveEncoding neighbours sigma (a: float, b: float) =
    let nearest =
        bins.Value
        |> Array.mapi (fun i (p, q) -> (float p - a) ** 2. + (float q - b) ** 2., i)
        |> Array.sort
        |> Array.take neighbours

    let weights = nearest |> Array.map (fun (d, _) -> exp (-d / (2. * sigma * sigma)))
    Array.map snd nearest, weights |> Array.map (fun w -> w / Array.sum weights)

/// Chroma of sRGB colours: edges of the gamut are among them.
let private colours count =
    let mutable g = Philox(5UL, RandomPurpose.Evaluation)

    Array.init count (fun i ->
        let draw () =
            if i % 3 = 0 then round (g.NextDouble()) else g.NextDouble()

        let r = draw ()
        let h = draw ()
        let struct (_, a, b) = CieLab.FromSrgb(r, h, g.NextDouble())
        a, b)

let private pairs (values: (float * float)[]) =
    (tensor
        [| int64 values.Length; 2L |]
        [|
            for a, b in values do
                yield! [ a; b ]
        |])
        .``to``
        torch.float32

/// Eq. 2 and 4, loop by loop.
let private naiveLoss (logits: float[][]) (encoded: (int[] * float[])[]) (rarity: float[] option) =
    let pixel (z: float[]) (indices: int[], shares: float[]) =
        let log sum = log sum
        let total = log (Array.sumBy exp z)
        let entropy = -(Array.map2 (fun i s -> s * (z[i] - total)) indices shares |> Array.sum)
        let weight = rarity |> Option.map (fun w -> w[indices[0]]) |> Option.defaultValue 1.
        entropy, weight

    let all = Array.map2 pixel logits encoded
    Array.sumBy (fun (e, w) -> e * w) all / Array.sumBy snd all

let private quantisedTests =
    testList
        "bins"
        [
            test "encoding equals a comparison with every bin" {
                for neighbours, sigma, loop in
                    [
                        1, 5., true
                        5, 5., true
                        5, 5., false
                        5, 20., true
                        12, 5., true
                        12, 5., false
                    ] do
                    use scope = torch.NewDisposeScope()
                    use encoder = soft neighbours sigma
                    let chroma = colours 500
                    let colours = pairs chroma

                    let struct (indices, shares) =
                        if loop then
                            encoder.Encode colours
                        else
                            encoder.EncodeByTensors colours

                    let got = indices.data<int64>().ToArray() |> Array.chunkBySize neighbours
                    let gotShares = doubles shares |> Array.chunkBySize neighbours

                    for i in 0 .. chroma.Length - 1 do
                        let expected, weights = naiveEncoding neighbours sigma chroma[i]

                        // Equally distant bins may change places: their shares are what counts.
                        let bySharesOf (indices: int[]) (shares: float[]) = Array.zip indices shares |> Map.ofArray

                        let want, have = bySharesOf expected weights, bySharesOf (Array.map int got[i]) gotShares[i]

                        for KeyValue(bin, share) in want do
                            let tied = weights |> Array.last
                            let found = have |> Map.tryFind bin |> Option.defaultValue tied
                            Expect.isLessThan (abs (share - found)) 1e-4 $"{chroma[i]}: bin {bin}"

                        Expect.isLessThan (abs (Array.sum gotShares[i] - 1.)) 1e-5 "sum"
            }

            test "colours on a bin and far outside" {
                use scope = torch.NewDisposeScope()
                use encoder = soft 5 5.
                let struct (indices, _) = encoder.Encode(pairs [| 0., 0.; 10., -20.; 500., 500.; -500., 0. |])

                let first =
                    indices.select(1, 0L).data<int64>().ToArray()
                    |> Array.map (fun i -> bins.Value[int i])

                Expect.equal first[0..1] [| 0, 0; 10, -20 |] "on a bin"
                Expect.isTrue (fst first[2] > 0 && fst first[3] < 0) "outside"
            }

            test "frequencies and their smoothing" {
                use scope = torch.NewDisposeScope()
                use encoder = soft 5 5.
                let nearest = torch.tensor [| 3L; 3L; 7L; 0L |]
                let frequencies = encoder.Frequencies nearest
                let got = doubles frequencies
                Expect.equal (Array.length got) 261 "bins"
                Expect.equal (got[3], got[7], got[0], Array.sum got) (0.5, 0.25, 0.25, 1.) "parts"
                let smooth = doubles (encoder.Smooth frequencies)
                close "sum" 1e-6 1. (Array.sum smooth)

                let spread target =
                    let gaussian (a, b) (p, q) =
                        exp (-(float (a - p) ** 2. + float (b - q) ** 2.) / 50.)

                    Array.mapi
                        (fun i source ->
                            got[i] * gaussian bins.Value[target] source
                            / Array.sumBy (gaussian source) bins.Value)
                        bins.Value
                    |> Array.sum

                for target in [ 0; 2; 3; 7; 100 ] do
                    close $"bin {target}" 1e-5 (spread target) smooth[target]
            }

            test "weights of rare colours are the paper's" {
                use scope = torch.NewDisposeScope()
                let p = [| 0.5; 0.3; 0.2; 0. |]

                for share in [ 0.1; 0.5; 1. ] do
                    let got = doubles (ColourCrossEntropy.Rarity(tensor [| 4L |] p, share))
                    let raw = p |> Array.map (fun p -> 1. / ((1. - share) * p + share / 4.))
                    let scale = Array.map2 (*) p raw |> Array.sum
                    Array.iter2 (fun r g -> close "weight" 1e-12 (r / scale) g) raw got

                for share in [ 0.; -1.; 1.5; nan ] do
                    Expect.stringContains
                        (message (fun () -> ColourCrossEntropy.Rarity(tensor [| 4L |] p, share)))
                        "uniform share"
                        $"{share}"
            }

            test "loss equals the paper's loops, in both precisions" {
                for rows, count, neighbours in [ 1, 2, 1; 3, 5, 2; 8, 7, 3; 20, 30, 5 ] do
                    for weighted in [ false; true ] do
                        use scope = torch.NewDisposeScope()
                        let z = arbitrary rows (rows * count) |> Array.map ((*) 3.)

                        let encoded =
                            Array.init rows (fun i ->
                                let indices = Array.init neighbours (fun k -> (i * 3 + k) % count)
                                let raw = Array.init neighbours (fun k -> 1. / float (k + 1))
                                indices, raw |> Array.map (fun r -> r / Array.sum raw))

                        let rarity = Array.init count (fun q -> 0.5 + float q / 3.)

                        let expected =
                            naiveLoss (Array.chunkBySize count z) encoded (if weighted then Some rarity else None)

                        for dtype, tolerance in [ torch.float64, 1e-12; torch.float32, 1e-5 ] do
                            let real (shape: int64[]) values =
                                (tensor shape values).``to``(dtype: torch.ScalarType)

                            let small = [| int64 rows; int64 neighbours |]

                            let indices =
                                torch
                                    .tensor(
                                        [|
                                            for i, _ in encoded do
                                                yield! Array.map int64 i
                                        |]
                                    )
                                    .reshape
                                    small

                            let loss =
                                ColourCrossEntropy.Loss(
                                    real [| int64 rows; int64 count |] z,
                                    indices,
                                    real small (Array.collect snd encoded),
                                    (if weighted then real [| int64 count |] rarity else null)
                                )

                            Expect.equal loss.dtype dtype "dtype"
                            close $"{rows} × {count}" tolerance expected (scalar loss)
            }

            test "gradient equals finite differences; none reaches shares and weights" {
                use scope = torch.NewDisposeScope()
                let z = arbitrary 4 12
                let indices = torch.tensor([| 0L; 2L; 3L; 1L; 1L; 0L |]).reshape(3L, 2L)
                let s = [| 0.7; 0.3; 0.6; 0.4; 0.9; 0.1 |]
                let w = [| 0.5; 2.; 1.; 1.5 |]

                let f x =
                    scalar (
                        ColourCrossEntropy.Loss(
                            tensor [| 3L; 4L |] x,
                            indices,
                            tensor [| 3L; 2L |] s,
                            tensor [| 4L |] w
                        )
                    )

                let logits = (tensor [| 3L; 4L |] z).requires_grad_()
                let shares = (tensor [| 3L; 2L |] s).requires_grad_()
                let rarity = (tensor [| 4L |] w).requires_grad_()
                ColourCrossEntropy.Loss(logits, indices, shares, rarity).backward()
                Array.iter2 (close "gradient" 1e-7) (differences f z) (doubles logits.grad)
                Expect.isNull shares.grad "shares"
                Expect.isNull rarity.grad "weights"
            }

            test "a uniform prediction costs ln Q whatever the weights" {
                use scope = torch.NewDisposeScope()
                let indices = torch.tensor([| 0L; 2L; 3L |]).reshape(3L, 1L)
                let ones = torch.ones (3L, 1L, dtype = torch.float64)

                for logit in [ 0.; 7.; -300. ] do
                    for rarity in [ null; tensor [| 4L |] [| 0.5; 9.; 100.; 0.01 |] ] do
                        let logits = torch.full([| 3L; 4L |], logit.ToScalar(), dtype = torch.float64).requires_grad_()
                        let loss = ColourCrossEntropy.Loss(logits, indices, ones, rarity)
                        loss.backward ()
                        close "loss" 1e-12 (ColourCrossEntropy.Chance 4) (scalar loss)
                        Expect.all (doubles logits.grad) Double.IsFinite "gradient"
            }

            test "errors say what was wrong, and nothing is left behind" {
                use scope = torch.NewDisposeScope()
                use z = torch.zeros (3L, 4L)
                use i = torch.zeros (3L, 2L, dtype = torch.int64)
                use s = torch.ones (3L, 2L)
                use w = torch.ones 4L
                use bad = torch.ones 5L
                use one = torch.ones (3L, 1L)

                Expect.stringContains (message (fun () -> ColourCrossEntropy.Loss(z, i, s, bad))) "and (5)" "weights"

                Expect.stringContains
                    (message (fun () -> ColourCrossEntropy.Loss(z, i, one, w)))
                    "(3, 2), (3, 1)"
                    "shares"

                Expect.stringContains
                    (message (fun () -> ColourCrossEntropy.Loss(w, i, s, null)))
                    "received (4)"
                    "logits"

                use encoder = soft 5 5.
                Expect.stringContains (message (fun () -> encoder.Encode z)) "(M, 2)" "chroma"

                let build step neighbours sigma =
                    message (fun () -> new SoftBins([| struct (0, 0); struct (10, 0) |], step, neighbours, sigma, cpu))

                Expect.stringContains (build 3 1 5.) "grid of step 3" "off the grid"
                Expect.stringContains (build 10 3 5.) "received 3" "neighbours"
                Expect.stringContains (build 10 1 0.) "received 0" "deviation"

                use first = ColourCrossEntropy.Loss(z, i, s, w)
                use chroma = torch.zeros (3L, 2L)
                let before = Tests.Support.LiveTensors.settled ()

                for _ in 1..3 do
                    use loss = ColourCrossEntropy.Loss(z, i, s, w)
                    let struct (a, b) = encoder.Encode chroma
                    use frequencies = encoder.Frequencies(a.select (1, 0L))
                    use smooth = encoder.Smooth frequencies
                    a.Dispose()
                    b.Dispose()
                    ignore (loss, smooth)

                // The three selections of nearest bins are this test's own.
                Expect.equal (torch.Tensor.TotalCount - before) 3L "live tensors"
            }
        ]

[<Tests>]
let tests = testList "pretext colour losses" [ regressionTests; quantisedTests ]

/// Draws, kernels against their plain twins, and the promises of a pipeline: determinism, no garbage, clear errors.
module Tests.Core.AugmentTests

open System
open Expecto
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Runtime

let private shape h w c = ImageShape(h, w, c)

let private noise seed (s: ImageShape) =
    let mutable g = Philox(seed, RandomPurpose.Evaluation)
    Array.init s.Bytes (fun _ -> byte (g.NextUInt32() >>> 24))

/// Blobs of flat colour and black, white and gray areas, where hue and mirrored sums have their special cases.
let private flat (s: ImageShape) =
    Array.init s.Bytes (fun n ->
        let c, x, y = n % s.Channels, n / s.Channels % s.Width, n / s.Channels / s.Width

        match (x / 3 + y / 5) % 5 with
        | 0 -> 0uy
        | 1 -> 255uy
        | 2 -> 77uy
        | 3 -> if c = 0 then 200uy else 10uy
        | _ -> byte (c * 90))

let private normalisation channels =
    ChannelNormalisation(
        Array.init channels (fun c -> 0.4f + 0.1f * float32 c),
        Array.init channels (fun c -> 0.2f + 0.05f * float32 c)
    )

let private crop h w =
    ResizedCrop(0.08, 1., 0.75, 4. / 3., h, w, Interpolation.Bilinear) :> ViewOp

let private simclr h w : ViewOp[] =
    [|
        crop h w
        Flip 0.5
        Jitter(0.4, 0.4, 0.4, 0.1, 0.8)
        Gray 0.2
        Blur(0.1, 2., 0.5)
    |]

let private render (pipeline: ViewPipeline) (pixels: byte[]) (parameters: ViewParameters) =
    let view = Array.zeroCreate<float32> pipeline.OutputFloats
    let mutable p = parameters
    pipeline.Render(ReadOnlySpan pixels, &p, Span view)
    view

let private worst (a: float32[]) (b: float32[]) =
    Array.map2 (fun (x: float32) y -> abs (x - y)) a b |> Array.max

let private pipelines c h w =
    let cubic = ResizedCrop(0.2, 1., 0.5, 2., h, w, Interpolation.Bicubic) :> ViewOp

    [
        "simclr", simclr h w
        "cubic",
        [|
            cubic
            VerticalFlip 0.5
            Solarize(128, 0.5)
            Jitter(0.8, 0.8, 0.8, 0.5, 1.)
        |]
        "order",
        [|
            Jitter(0.4, 0.9, 0.4, 0.2, 1.)
            crop h w
            Gray 0.5
            Flip 0.5
            Blur(0.1, 6., 1.)
        |]
        "twice",
        [|
            Flip 0.5
            cubic
            Jitter(0.2, 0.7, 0., 0., 1.)
            crop h w
            VerticalFlip 0.5
            KernelBlur(3, 0.5, 2., 1.)
        |]
        "nothing", [||]
    ]

let private twins =
    testList
        "vector and scalar kernels agree"
        [
            for c in [ 1; 3 ] do
                for sh, sw, h, w in
                    [
                        32, 32, 32, 32
                        32, 32, 24, 24
                        28, 28, 28, 28
                        7, 5, 9, 11
                        64, 48, 17, 33
                        96, 96, 7, 5
                        96, 130, 20, 19
                        40, 40, 96, 90
                    ] do
                    test $"{c} channels, {sh}x{sw} to {h}x{w}" {
                        for name, ops in pipelines c h w do
                            let source = shape sh sw c
                            let fast = ViewPipeline(source, ops, normalisation c)
                            let plain = ViewPipeline(source, ops, normalisation c, Scalar = true)

                            for index in 0..14 do
                                let pixels =
                                    if index % 3 = 0 then
                                        flat source
                                    else
                                        noise (uint64 index) source

                                let p = fast.Draw(1UL, 0, int64 index, 0)
                                let a, b = render fast pixels p, render plain pixels p
                                Expect.all a Single.IsFinite "finite"
                                // A threshold, or the rounding inside a blur, may part values that differ in their last bit.
                                let parted = name = "cubic" && p[2].Applied || p.Count = 5 && p[4].Applied

                                let apart =
                                    Array.map2 (fun (x: float32) y -> abs (x - y) > 1e-3f) a b |> Array.filter id

                                if p.Count = 5 then
                                    Expect.isLessThan (worst a b) 0.06f $"{name}, image {index}: three steps of a byte"

                                if parted then
                                    Expect.isLessThan
                                        apart.Length
                                        (2 + a.Length / 20)
                                        $"{name}, image {index}: differing pixels"
                                else
                                    Expect.isLessThan (worst a b) 2e-4f $"{name}, image {index}: largest difference"
                    }
        ]

let private draws =
    let pipeline ops =
        ViewPipeline(shape 32 32 3, Array.ofList ops, normalisation 3)

    let n = 20_000

    let sample (op: ViewOp) =
        let p = pipeline [ op ]
        [| for i in 0 .. n - 1 -> p.Draw(5UL, i % 7, int64 i, i % 2)[0] |]

    let near tolerance expected got what =
        Expect.floatClose { absolute = tolerance; relative = 0. } got expected what

    let share (op: ViewOp) =
        (sample op |> Array.filter _.Applied |> Array.length |> float) / float n

    testList
        "draws"
        [
            test "probabilities" {
                for p in [ 0.; 0.2; 0.5; 0.8; 1. ] do
                    for op in
                        [
                            Flip p :> ViewOp
                            VerticalFlip p
                            Gray p
                            Rotate90 p
                            Solarize(128, p)
                            Blur(0.1, 2., p)
                            Jitter(0.4, 0.4, 0.4, 0.1, p)
                        ] do
                        let tolerance = if p = 0. || p = 1. then 0. else 0.015
                        near tolerance p (share op) $"{op}"
            }

            test "crops keep their ranges, with uniform area and log-uniform ratio" {
                let p =
                    ViewPipeline(
                        shape 300 300 3,
                        [| ResizedCrop(0.2, 0.5, 0.75, 4. / 3., 8, 8, Interpolation.Bilinear) |],
                        normalisation 3
                    )

                let d = [| for i in 0 .. n - 1 -> p.Draw(5UL, 0, int64 i, 0)[0] |]
                let areas = d |> Array.map (fun d -> float (d.Height * d.Width) / 90000.)
                let ratios = d |> Array.map (fun d -> log (float d.Width / float d.Height))
                Expect.isGreaterThan (Array.min areas) 0.198 "smallest area"
                Expect.isLessThan (Array.max areas) 0.503 "largest area"
                near 0.003 0.35 (Array.average areas) "mean area"
                Expect.isLessThan (Array.max ratios) (log (4. / 3.) + 0.02) "largest ratio"
                near 0.004 0. (Array.average ratios) "mean log ratio"

                near
                    0.002
                    (0.3 ** 2. / 12.)
                    (areas |> Array.averageBy (fun a -> (a - 0.35) ** 2.))
                    "variance of the area"

                Expect.all
                    d
                    (fun d -> d.Left >= 0 && d.Left + d.Width <= 300 && d.Top >= 0 && d.Top + d.Height <= 300)
                    "inside"

                near 0.01 0.5 (d |> Array.averageBy (fun d -> float d.Left / float (300 - d.Width))) "uniform place"
            }

            test "an impossible crop falls back to the centre" {
                let p =
                    ViewPipeline(
                        shape 10 200 3,
                        [| ResizedCrop(1., 1., 0.75, 4. / 3., 8, 8, Interpolation.Bilinear) |],
                        normalisation 3
                    )

                let d = p.Draw(0UL, 0, 0L, 0)[0]
                Expect.equal (d.Top, d.Left, d.Height, d.Width) (0, 93, 10, 13) "torchvision's fallback"
            }

            test "jitter factors and orders" {
                let d = sample (Jitter(0.4, 1.5, 0.2, 0.1, 1.))

                let range f =
                    d |> Array.map f |> fun v -> Array.min v, Array.average v, Array.max v

                for what, f, low, high in
                    [
                        "brightness", (fun (d: OpDraw) -> float d.Brightness), 0.6, 1.4
                        "contrast", (fun d -> float d.Contrast), 0., 2.5
                        "saturation", (fun d -> float d.Saturation), 0.8, 1.2
                        "hue", (fun d -> float d.Hue), -0.1, 0.1
                    ] do
                    let least, mean, most = range f
                    Expect.isGreaterThanOrEqual least (low - 1e-6) what
                    Expect.isLessThanOrEqual most (high + 1e-6) what
                    near (0.02 * (high - low)) ((low + high) / 2.) mean $"mean {what}"
                    Expect.isGreaterThan most (high - 0.01 * (high - low)) $"{what} reaches its end"

                let orders = d |> Array.countBy _.Order
                Expect.equal orders.Length 24 "every order"
                Expect.all orders (fun (_, k) -> abs (k - n / 24) < 150) "equally often"
            }

            test "turns are equally likely" {
                let turns = sample (Rotate90 1.) |> Array.countBy _.Turns |> Map.ofArray
                Expect.all [ 1; 2; 3 ] (fun t -> abs (turns[t] - n / 3) < 350) "thirds"
            }

            test "a draw is a function of its position, and no two positions share one" {
                let p = pipeline (List.ofArray (simclr 32 32))

                let keys =
                    [
                        for seed in [ 0UL; 1UL ] do
                            for epoch in 0..2 do
                                for index in 0L .. 5L do
                                    for view in 0..1 -> seed, epoch, index, view
                    ]

                let all = keys |> List.map p.Draw
                Expect.equal (keys |> List.rev |> List.map p.Draw |> List.rev) all "again, in another order"

                Expect.equal
                    (all |> List.map (fun d -> d[0]) |> List.distinct |> List.length)
                    keys.Length
                    "crops differ"
            }

            test "a changed operation moves no draw of the others" {
                let a = pipeline [ crop 32 32; Flip 0.5; Gray 0.2 ]
                let b = pipeline [ crop 32 32; Flip 1.0; Gray 0.2 ]

                for i in 0L .. 50L do
                    let da, db = a.Draw(1UL, 0, i, 0), b.Draw(1UL, 0, i, 0)
                    Expect.equal (da[0], da[2]) (db[0], db[2]) "crop and gray"
            }
        ]

let private promises =
    testList
        "pipeline"
        [
            test "no operations: the normalised image" {
                let source = shape 19 23 3
                let pixels = noise 1UL source
                let p = ViewPipeline(source, [||], normalisation 3)
                let view = render p pixels (p.Draw(0UL, 0, 0L, 0))

                for n in 0 .. view.Length - 1 do
                    let c, i = n / (19 * 23), n % (19 * 23)

                    let expected =
                        (float pixels[i * 3 + c] / 255. - (0.4 + 0.1 * float c))
                        / (0.2 + 0.05 * float c)

                    Expect.floatClose { absolute = 2e-6; relative = 1e-6 } (float view[n]) expected "value"
            }

            test "operations that change nothing" {
                let source = shape 24 24 3
                let pixels = noise 2UL source
                let plain = ViewPipeline(source, [||], normalisation 3)
                let expected = render plain pixels (plain.Draw(0UL, 0, 0L, 0))

                let whole m =
                    ResizedCrop(1., 1., 1., 1., 24, 24, m) :> ViewOp

                for ops in
                    [
                        [ whole Interpolation.Bilinear ]
                        [ whole Interpolation.Bicubic ]
                        [ Jitter(0., 0., 0., 0., 1.) ]
                        [ Flip 1.; Flip 1. ]
                        [ VerticalFlip 1.; whole Interpolation.Bilinear; VerticalFlip 1. ]
                        [ Solarize(256, 1.) ]
                        [ Flip 0.; Gray 0.; Solarize(0, 0.); Blur(1., 1., 0.); Rotate90 0. ]
                    ] do
                    let p = ViewPipeline(source, Array.ofList ops, normalisation 3)
                    let view = render p pixels (p.Draw(0UL, 0, 0L, 0))
                    Expect.isLessThan (worst view expected) 1e-5f $"{ops}"
            }

            test "four quarter turns are none; turns and mirrorings commute as they should" {
                let source = shape 21 21 3
                let pixels = noise 3UL source

                let run (ops: (ViewOp * OpDraw) list) =
                    let p = ViewPipeline(source, ops |> List.map fst |> List.toArray, normalisation 3)
                    let mutable d = ViewParameters(Count = ops.Length)
                    ops |> List.iteri (fun i (_, x) -> d[i] <- x)
                    render p pixels d

                let turn k =
                    Rotate90 1. :> ViewOp, OpDraw(Applied = true, Turns = k)

                let flip = Flip 1. :> ViewOp, OpDraw(Applied = true)
                let vflip = VerticalFlip 1. :> ViewOp, OpDraw(Applied = true)
                Expect.equal (run [ turn 1; turn 3 ]) (run []) "there and back"
                Expect.equal (run [ turn 1; turn 1 ]) (run [ turn 2 ]) "twice a quarter"
                Expect.equal (run [ flip; vflip ]) (run [ turn 2 ]) "both mirrors are half a turn"
                Expect.equal (run [ flip; turn 1 ]) (run [ turn 3; flip ]) "mirror then turn"
            }

            test "a mirroring before or after other operations gives the same view" {
                let source = shape 32 32 3
                let pixels = noise 4UL source
                let jitter = Jitter(0.4, 0.4, 0.4, 0.1, 1.) :> ViewOp
                let blur = Blur(0.5, 2., 1.) :> ViewOp
                let first = ViewPipeline(source, [| crop 24 24; Flip 1.; jitter; blur |], normalisation 3)
                let last = ViewPipeline(source, [| crop 24 24; jitter; blur; Flip 1. |], normalisation 3)
                let d = first.Draw(0UL, 0, 0L, 0)
                let mutable e = ViewParameters(Count = 4)
                e[0] <- d[0]
                e[1] <- d[2]
                e[2] <- d[3]
                e[3] <- d[1]
                Expect.isLessThan (worst (render first pixels d) (render last pixels e)) 1e-5f "same"
            }

            test "rendering allocates nothing" {
                let source = shape 40 40 3
                let pixels = noise 5UL source

                let p =
                    ViewPipeline(
                        source,
                        [| yield! simclr 32 32; Solarize(128, 0.5); Rotate90 0.5; VerticalFlip 0.5 |],
                        normalisation 3
                    )

                let view = Array.zeroCreate<float32> p.OutputFloats

                let go n =
                    for i in 0..n do
                        let mutable d = p.Draw(0UL, 0, int64 i, 0)
                        p.Render(ReadOnlySpan pixels, &d, Span view)

                go 300
                let before = GC.GetAllocatedBytesForCurrentThread()
                go 300
                Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
            }

            test "threads do not disturb each other" {
                let source = shape 32 32 3
                let p = ViewPipeline(source, simclr 24 24, normalisation 3)
                let images = [| for i in 0UL .. 63UL -> noise i source |]

                let one i =
                    render p images[i] (p.Draw(0UL, 0, int64 i, 0))

                let serial = Array.init 64 one
                Expect.equal (Array.Parallel.init 64 one) serial "bit-equal"
            }

            test "all mistakes are told at once" {
                let message =
                    try
                        ViewPipeline(
                            shape 32 40 3,
                            [|
                                ResizedCrop(0.5, 0.2, 0.75, 4. / 3., 0, 8, Interpolation.Bilinear)
                                Flip 1.5
                                Jitter(-1., 0., 0., 0.7, 0.5)
                                Blur(2., 1., 0.5)
                                Solarize(300, 0.1)
                            |],
                            normalisation 1
                        )
                        |> ignore

                        ""
                    with :? ArgumentException as e ->
                        e.Message

                for part in
                    [
                        "area range"
                        "size 0x8"
                        "Flip: probability 1.5"
                        "brightness -1"
                        "hue 0.7"
                        "sigma range"
                        "threshold 300"
                        "1 means"
                    ] do
                    Expect.stringContains message part "names it"

                Expect.throwsT<ArgumentException>
                    (fun () -> ViewPipeline(shape 32 40 3, [| Rotate90 1. |], normalisation 3) |> ignore)
                    "not square"
            }

            test "the augmenters place views and labels" {
                let source = shape 16 16 3
                let first = ViewPipeline(source, simclr 8 8, normalisation 3)
                let second = ViewPipeline(source, [| crop 8 8; Flip 0.5 |], normalisation 3)
                let pixels = noise 6UL source
                let two = TwoViewAugmenter(first, second)

                Expect.equal
                    (two.Buffers
                     |> Seq.map (fun b -> b.RowsPerImage, List.ofSeq b.RowShape)
                     |> List.ofSeq)
                    [ 2, [ 3L; 8L; 8L ] ]
                    "buffers"

                Expect.throwsT<ArgumentException>
                    (fun () ->
                        TwoViewAugmenter(first, ViewPipeline(source, simclr 9 9, normalisation 3))
                        |> ignore)
                    "sizes differ"

                let labelled = LabelledAugmenter first
                Expect.equal labelled.Buffers.Count 2 "images and labels"

                Expect.notEqual
                    (render first pixels (first.Draw(0UL, 0, 0L, 0)))
                    (render first pixels (first.Draw(0UL, 0, 0L, 1)))
                    "views differ"
            }

            test "what was done can be read" {
                let p =
                    ViewPipeline(shape 32 32 3, [| crop 32 32; Flip 1.; Gray 0.; Blur(1., 1., 1.) |], normalisation 3)

                let mutable d = p.Draw(0UL, 0, 0L, 0)
                let lines = p.Describe(&d) |> List.ofSeq
                Expect.equal lines.Length 3 "applied operations only"
                Expect.stringStarts lines[0] "crop " "crop"
                Expect.equal lines[1..] [ "flip"; "blur 1.00" ] "others"
            }
        ]

[<Tests>]
let tests = testList "augment" [ twins; draws; promises ]

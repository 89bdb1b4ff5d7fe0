/// The augmenters of the pretext tasks: turned views, patches, lightness and chroma.
module Tests.Core.PretextViewsTests

open System
open System.Runtime.InteropServices
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Refusals

let private shape h w c = ImageShape(h, w, c)

let private noise seed (s: ImageShape) =
    let mutable g = Philox(seed, RandomPurpose.Evaluation)
    Array.init s.Bytes (fun _ -> byte (g.NextUInt32() >>> 24))

let private normalisation channels =
    ChannelNormalisation(
        Array.init channels (fun c -> 0.4f + 0.1f * float32 c),
        Array.init channels (fun c -> 0.2f + 0.05f * float32 c)
    )

let private plain = ChannelNormalisation([| 0f; 0f; 0f |], [| 1f; 1f; 1f |])

let private crop side =
    ResizedCrop(0.3, 1., 0.75, 4. / 3., side, side, Interpolation.Bilinear) :> ViewOp

let private pipeline source ops =
    ViewPipeline(source, ops, normalisation source.Channels)

let private sample (pixels: byte[]) index slot =
    Sample(Pixels = ReadOnlySpan pixels, Label = 0, Seed = 9UL, Epoch = 2, Index = index, Slot = slot)

/// The buffers of a batch of these images, slot by slot, index = 100 + slot.
let private batch (augmenter: IAugmenter<'Views>) (images: byte[][]) =
    let buffers =
        [|
            for b in augmenter.Buffers -> Array.zeroCreate<float32>(b.RowsPerImage * images.Length * int b.RowElements)
        |]

    let handles = buffers |> Array.map (fun b -> GCHandle.Alloc(b, GCHandleType.Pinned))

    try
        let memory =
            BatchMemory(handles |> Array.map _.AddrOfPinnedObject(), augmenter.Buffers, Count = images.Length)

        for i, pixels in Array.indexed images do
            let s = sample pixels (100L + int64 i) i
            augmenter.Render(&s, memory)
    finally
        handles |> Array.iter _.Free()

    buffers

let private rows (spec: BufferSpec) (buffer: float32[]) =
    buffer |> Array.chunkBySize (int spec.RowElements)

/// One buffer of a batch, row by row.
let private rowsOf (augmenter: IAugmenter<'Views>) images buffer =
    rows augmenter.Buffers[buffer] (Array.item buffer (batch augmenter images))

/// The view itself, as the pipeline renders it alone.
let private alone (p: ViewPipeline) (pixels: byte[]) index =
    let view = Array.zeroCreate<float32> p.OutputFloats
    let mutable d = p.Draw(9UL, 2, index, 0)
    p.Render(ReadOnlySpan pixels, &d, Span view)
    view

let private allocatesNothing (augmenter: IAugmenter<'Views>) (pixels: byte[]) =
    let buffers =
        [|
            for b in augmenter.Buffers -> Array.zeroCreate<float32>(b.RowsPerImage * int b.RowElements)
        |]

    let handles = buffers |> Array.map (fun b -> GCHandle.Alloc(b, GCHandleType.Pinned))

    try
        let memory = BatchMemory(handles |> Array.map _.AddrOfPinnedObject(), augmenter.Buffers, Count = 1)

        let go n =
            for i in 0..n do
                let s = sample pixels (int64 i) 0
                augmenter.Render(&s, memory)

        go 300
        let before = GC.GetAllocatedBytesForCurrentThread()
        go 300
        Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
    finally
        handles |> Array.iter _.Free()

let private turns =
    testList
        "turned views"
        [
            test "row t of an image is its view after t quarter turns counter-clockwise" {
                let source = shape 20 24 3
                let images = Array.init 3 (fun i -> noise (uint64 i) source)
                let p = pipeline source [| crop 12; Flip 0.5 |]
                let augmenter = RotatedAugmenter p
                let got = rowsOf augmenter images 0
                let at (plane: float32[]) y x = plane[y * 12 + x]

                for i in 0..2 do
                    let mutable expected = alone p images[i] (100L + int64 i) |> Array.chunkBySize 144

                    for t in 0..3 do
                        Expect.equal got[t * 3 + i] (Array.concat expected) $"image {i}, turn {t}"

                        expected <-
                            expected
                            |> Array.map (fun plane -> Array.init 144 (fun k -> at plane (k % 12) (11 - k / 12)))
            }

            test "the turns are those of Rotate90" {
                let source = shape 16 16 3
                let pixels = noise 1UL source
                let turned = ViewPipeline(source, [| Rotate90 1. |], normalisation 3)
                let augmenter = RotatedAugmenter(pipeline source [||])
                let got = rowsOf augmenter [| pixels |] 0

                for t in 1..3 do
                    let mutable d = ViewParameters(Count = 1)
                    d[0] <- OpDraw(Applied = true, Turns = t)
                    let view = Array.zeroCreate<float32> turned.OutputFloats
                    turned.Render(ReadOnlySpan pixels, &d, Span view)
                    Expect.equal got[t] view $"{t}"
            }

            test "rendering allocates nothing" {
                let source = shape 32 32 3
                allocatesNothing (RotatedAugmenter(pipeline source [| crop 24; Flip 0.5 |])) (noise 3UL source)
            }

            test "views that are not square are refused, as is a batch of another shape" {
                Expect.stringContains
                    (message (fun () -> RotatedAugmenter(pipeline (shape 20 24 3) [||])))
                    "square"
                    "augmenter"

                use wrong = torch.zeros (6L, 3L, 8L, 8L)
                Expect.stringContains (message (fun () -> RotatedView wrong)) "(4N, C, S, S)" "view"
            }
        ]

let private patches =
    testList
        "patches"
        [
            test "each patch is the part of the view at its place" {
                let source = shape 40 44 3
                let images = Array.init 2 (fun i -> noise (uint64 i) source)
                let p = pipeline source [| crop 37; Jitter(0.4, 0.4, 0.4, 0.1, 1.) |]
                let augmenter = PatchAugmenter(p, PatchGridOptions(8, 2, true, false))
                Expect.equal augmenter.CellHeight 11 "cell"
                let got = rowsOf augmenter images 0

                for i in 0..1 do
                    let view = alone p images[i] (100L + int64 i)

                    for cell in 0..8 do
                        let struct (top, left) = augmenter.Place(9UL, 2, 100L + int64 i, cell)

                        let expected =
                            Array.init (3 * 64) (fun k -> view[(k / 64 * 37 + top + k / 8 % 8) * 37 + left + k % 8])

                        Expect.equal got[cell * 2 + i] expected $"image {i}, cell {cell}"
            }

            test "places stay in their cells, use all of them, and keep the gap" {
                let augmenter = PatchAugmenter(pipeline (shape 32 32 3) [||], PatchGridOptions(8, 1, true, true))

                let seen = Collections.Generic.HashSet()

                for index in 0L .. 499L do
                    let places =
                        [
                            for cell in 0..8 do
                                let struct (y, x) = augmenter.Place(1UL, 0, index, cell)
                                y, x
                        ]

                    for cell, (y, x) in List.indexed places do
                        let dy, dx = y - cell / 3 * 11, x - cell % 3 * 11
                        Expect.isTrue (dy >= 0 && dy <= 2 && dx >= 0 && dx <= 2) "in its cell of 10 pixels"
                        seen.Add(cell, dy, dx) |> ignore

                    for i in 0..8 do
                        for j in 0 .. i - 1 do
                            let apart a b = abs (a - b) - 8
                            let (y, x), (v, u) = places[i], places[j]
                            Expect.isGreaterThanOrEqual (max (apart y v) (apart x u)) 1 "the gap"

                Expect.equal seen.Count (9 * 9) "every place of every cell"
            }

            test "without jitter the patches lie in the middle of their cells" {
                let augmenter = PatchAugmenter(pipeline (shape 33 35 3) [||], PatchGridOptions(7, 0, false, false))

                let places = [ for cell in 0..8 -> augmenter.Place(uint64 cell, 1, 5L, cell) ]

                Expect.equal
                    places
                    [
                        for y in [ 2; 13; 24 ] do
                            for x in [ 3; 14; 25 ] do
                                struct (y, x)
                    ]
                    "11x11 cells in a margin of 0 and 1"
            }

            test "normalised patches have mean 0 and deviation 1 in every channel, and flat ones are zero" {
                let source = shape 32 32 3
                let images = [| noise 1UL source; Array.create source.Bytes 200uy |]
                let augmenter = PatchAugmenter(pipeline source [||], PatchGridOptions(8, 1, true, true))
                let got = rowsOf augmenter images 0

                for cell in 0..8 do
                    for channel in Array.chunkBySize 64 got[cell * 2] do
                        let mean = Array.averageBy float channel
                        let variance = channel |> Array.averageBy (fun v -> (float v - mean) ** 2.)
                        Expect.isLessThan (abs mean) 1e-5 "mean"
                        Expect.isLessThan (abs (variance - 1.)) 1e-4 "variance"

                    Expect.all got[cell * 2 + 1] (fun v -> abs v < 2e-3f) "flat"
            }

            test "rendering allocates nothing" {
                let source = shape 32 32 3

                allocatesNothing
                    (PatchAugmenter(pipeline source [| crop 32 |], PatchGridOptions(8, 1, true, true)))
                    (noise 3UL source)
            }

            test "patches that do not fit are refused, as is a batch of another shape" {
                let build size gap =
                    message (fun () ->
                        PatchAugmenter(pipeline (shape 32 32 3) [||], PatchGridOptions(size, gap, true, true)))

                Expect.stringContains (build 11 1) "patches of 11 pixels do not fit cells of 10x10" "size"
                Expect.stringContains (build 0 1) "received size 0" "no size"
                Expect.stringContains (build 4 -1) "gap -1" "gap"
                Expect.stringContains (build 4 40) "do not fit" "gap larger than the view"
                use wrong = torch.zeros (8L, 3L, 4L, 4L)
                Expect.stringContains (message (fun () -> PatchGrid wrong)) "(9N, C, p, p)" "view"
            }
        ]

/// sRGB bytes and their Lab values after Lindbloom's calculator (D65).
let private known =
    [
        (0, 0, 0), (0., 0., 0.)
        (255, 255, 255), (100., 0., 0.)
        (119, 119, 119), (50.0344, 0., 0.)
        (255, 0, 0), (53.2408, 80.0925, 67.2032)
        (0, 255, 0), (87.7347, -86.1827, 83.1793)
        (0, 0, 255), (32.2970, 79.1875, -107.8602)
        (255, 255, 0), (97.1393, -21.5537, 94.4780)
        (0, 255, 255), (91.1132, -48.0875, -14.1312)
        (255, 0, 255), (60.3242, 98.2343, -60.8249)
    ]

let private labs =
    testList
        "lightness and chroma"
        [
            test "known colours" {
                for (r, g, b), (l, a, c) in known do
                    let part (v: int) = float v / 255.
                    let struct (gotL, gotA, gotB) = CieLab.FromSrgb(part r, part g, part b)

                    for want, got in [ l, gotL; a, gotA; c, gotB ] do
                        Expect.isLessThan (abs (want - got)) 0.005 $"({r}, {g}, {b}): {want} against {got}"
            }

            test "grays have no chroma, and lightness rises with them" {
                let grays =
                    [
                        for v in 0..255 -> CieLab.FromSrgb(float v / 255., float v / 255., float v / 255.)
                    ]

                for struct (_, a, b) in grays do
                    Expect.isLessThan (max (abs a) (abs b)) 1e-10 "chroma"

                Expect.all (List.pairwise grays) (fun (struct (l, _, _), struct (m, _, _)) -> m > l) "lightness"
            }

            test "the fast conversion equals the plain one" {
                for count in [ 1; 15; 16; 37; 4096 ] do
                    let mutable g = Philox(3UL, RandomPurpose.Evaluation)

                    // Values beyond both ends of the range and round the curve's knee are among them.
                    let rgb =
                        Array.init (3 * count) (fun i ->
                            match i % 7 with
                            | 0 -> 0.08f * g.NextSingle()
                            | 1 -> float32 (i % 2)
                            | _ -> 1.2f * g.NextSingle() - 0.1f)

                    let scaleBias = [| 1f; 0f; 0.9f; 0.05f; 1.1f; -0.02f |]
                    let fast, slow = Array.zeroCreate<float32>(3 * count), Array.zeroCreate<float32>(3 * count)

                    LabKernels.Convert(
                        ReadOnlySpan rgb,
                        count,
                        ReadOnlySpan scaleBias,
                        Span(fast, 0, count),
                        Span(fast, count, 2 * count)
                    )

                    LabKernels.Scalar(
                        ReadOnlySpan rgb,
                        0,
                        count,
                        ReadOnlySpan scaleBias,
                        Span(slow, 0, count),
                        Span(slow, count, 2 * count)
                    )

                    let worst = Array.map2 (fun (x: float32) y -> abs (x - y)) fast slow |> Array.max
                    Expect.isLessThan worst 1e-3f $"{count} pixels"
            }

            test "a view's lightness and the block means of its chroma" {
                let source = shape 20 24 3
                let images = Array.init 2 (fun i -> noise (uint64 i) source)
                let p = pipeline source [| crop 12; Flip 0.5 |]
                let n = p.Normalisation

                for stride in [ 1; 2; 3; 4; 12 ] do
                    let augmenter = LabAugmenter(p, stride)
                    let buffers = batch augmenter images
                    let lightness = rows augmenter.Buffers[0] buffers[0]
                    let chroma = rows augmenter.Buffers[1] buffers[1]
                    let side = 12 / stride

                    for i in 0..1 do
                        let view = alone p images[i] (100L + int64 i)

                        let pixel k =
                            let value c =
                                Math.Clamp(float view[c * 144 + k] * float n.Std[c] + float n.Mean[c], 0., 1.)

                            let struct (l, a, b) = CieLab.FromSrgb(value 0, value 1, value 2)
                            [| l; a; b |]

                        let pixels = Array.init 144 pixel

                        for k in 0..143 do
                            Expect.isLessThan (abs (float (lightness[i][k]) - pixels[k][0])) 1e-3 "lightness"

                        for c in 1..2 do
                            for k in 0 .. side * side - 1 do
                                let block =
                                    [
                                        for y in 0 .. stride - 1 do
                                            for x in 0 .. stride - 1 do
                                                pixels[(k / side * stride + y) * 12 + k % side * stride + x][c]
                                    ]

                                let got = float (chroma[i][(c - 1) * side * side + k])
                                Expect.isLessThan (abs (got - List.average block)) 1e-3 $"chroma at stride {stride}"
            }

            test "gray images have no chroma" {
                let source = shape 8 8 3
                let pixels = Array.init source.Bytes (fun i -> byte (i / 3 * 4))
                let augmenter = LabAugmenter(ViewPipeline(source, [||], plain), 2)
                let chroma = (batch augmenter [| pixels |])[1]
                Expect.all chroma (fun v -> abs v < 1e-3f) "zero"
            }

            test "the grid of the gamut holds every colour's nearest point and nothing else" {
                let grid = CieLab.GamutGrid 10 |> Seq.map (fun struct (a, b) -> a, b) |> Set.ofSeq
                Expect.equal grid.Count 261 "points"

                let nearest =
                    set
                        [
                            for r in 0..5..255 do
                                for g in 0..5..255 do
                                    for b in 0..5..255 do
                                        let part (v: int) = float v / 255.
                                        let struct (_, a, c) = CieLab.FromSrgb(part r, part g, part b)
                                        int (Math.Round(a / 10.)) * 10, int (Math.Round(c / 10.)) * 10
                        ]

                Expect.isEmpty (nearest - grid) "colours inside the cube lie nearest to points of the grid"
                Expect.isLessThan (grid - nearest).Count 6 "few points are reached by finer colours only"
            }

            test "rendering allocates nothing" {
                let source = shape 32 32 3
                allocatesNothing (LabAugmenter(pipeline source [| crop 24; Flip 0.5 |], 4)) (noise 3UL source)
                allocatesNothing (LabAugmenter(pipeline source [| crop 24; Flip 0.5 |], 1)) (noise 3UL source)
            }

            test "impossible views are refused" {
                let refused text f =
                    Expect.stringContains (message f) text text

                refused "red, green and blue" (fun () ->
                    LabAugmenter(ViewPipeline(shape 8 8 1, [||], normalisation 1), 2))

                refused "received 3 for" (fun () -> LabAugmenter(pipeline (shape 8 8 3) [||], 3))
                refused "received 0 for" (fun () -> LabAugmenter(pipeline (shape 8 8 3) [||], 0))
                use lightness = torch.zeros (2L, 1L, 8L, 8L)
                use chroma = torch.zeros (2L, 2L, 3L, 4L)
                refused "received (2, 2, 3, 4)" (fun () -> LabView(lightness, chroma))
                refused "(N, 1, H, W)" (fun () -> LabView(chroma, chroma))
            }
        ]

[<Tests>]
let tests = testList "pretext views" [ turns; patches; labs ]

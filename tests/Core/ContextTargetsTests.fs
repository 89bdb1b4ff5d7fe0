/// I-JEPA's views: blocks to predict, patches to see.
module Tests.Core.ContextTargetsTests

open System
open System.Collections.Generic
open System.Runtime.InteropServices
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Refusals

let private normalisation = ChannelNormalisation([| 0.5f; 0.4f; 0.3f |], [| 0.25f; 0.2f; 0.3f |])

let private whole height width =
    ViewPipeline(ImageShape(height, width, 3), [||], normalisation)

/// The paper's values.
let private paper = BlocksOptions(4, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25)

let private withVisible visible =
    BlocksOptions(4, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., visible)

/// The context and each target block of an image.
let private draw (a: BlocksAugmenter) seed epoch index =
    let context = Array.zeroCreate<int64> a.ContextCount
    let targets = Array.zeroCreate<int64>(a.Blocks * a.TargetCount)
    a.Draw(seed, epoch, index, Span context, Span targets)
    context, Array.chunkBySize a.TargetCount targets

let private shapesOf (a: BlocksAugmenter) =
    [ for struct (h, w) in a.TargetShapes -> h, w ]

/// Top, left, height and width, if these patches are a rectangle in row order.
let private rectangle columns (block: int64[]) =
    let rows, lefts =
        block |> Array.map (fun p -> int p / columns), block |> Array.map (fun p -> int p % columns)

    let top, left = Array.min rows, Array.min lefts
    let height, width = Array.max rows - top + 1, Array.max lefts - left + 1

    let expected =
        [|
            for y in top .. top + height - 1 do
                for x in left .. left + width - 1 -> int64 (y * columns + x)
        |]

    Expect.equal block expected "a whole rectangle, row by row"
    top, left, height, width

/// A share that was meant to be `p`, seen in `n` draws: five standard errors.
let private near what (n: int) (p: float) (count: int) =
    Expect.isLessThan
        (abs (float count / float n - p))
        (5. * sqrt (p * (1. - p) / float n))
        $"{what}: {count} of {n}, expected a share of {p}"

let private masks =
    testList
        "masks"
        [
            test "areas and rectangles of the paper's ranges on grids of several sizes" {
                let plan side patch =
                    let a =
                        BlocksAugmenter(whole side side, BlocksOptions(patch, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25))

                    (a.Rows, a.Columns), a.TargetCount, shapesOf a, a.ContextCount

                Expect.equal (plan 32 4) ((8, 8), 12, [ 3, 4; 4, 3 ], 16) "CIFAR-10"
                Expect.equal (plan 16 4) ((4, 4), 4, [ 2, 2 ], 4) "rounded outward"
                Expect.equal (plan 24 4) ((6, 6), 6, [ 3, 2 ], 9) "a ratio at its limit"
                Expect.equal (plan 224 16) ((14, 14), 30, [ 5, 6; 6, 5 ], 49) "most rectangles, then the largest area"
                Expect.equal (plan 12 4) ((3, 3), 1, [ 1, 1 ], 2) "single patches"
                let a = BlocksAugmenter(whole 20 24, paper)
                Expect.equal (a.Rows, a.Columns, shapesOf a) (5, 6, [ 3, 2 ]) "not square"
            }

            test "targets are rectangles of one area, the context is apart from all of them" {
                for height, width, visible in
                    [
                        32, 32, 0.25
                        32, 32, 0.4
                        16, 16, 0.25
                        20, 24, 0.25
                        24, 56, 0.3
                        12, 12, 0.25
                    ] do
                    let a = BlocksAugmenter(whole height width, withVisible visible)
                    let shapes = Set.ofList (shapesOf a)

                    for index in 0L .. 299L do
                        let context, blocks = draw a 7UL 3 index
                        Expect.equal blocks.Length 4 "blocks"

                        for block in blocks do
                            let top, left, h, w = rectangle a.Columns block
                            Expect.isTrue (shapes.Contains(h, w)) $"{h}×{w}"
                            Expect.isTrue (top + h <= a.Rows && left + w <= a.Columns) "inside the grid"

                        let shown, hidden = Set.ofArray context, Set.ofArray (Array.concat blocks)
                        Expect.equal shown.Count a.ContextCount "as many as stated, each once"
                        Expect.isTrue (context |> Array.forall (fun p -> p >= 0L && p < int64 a.Patches)) "patches"
                        Expect.isEmpty (Set.intersect shown hidden) "disjoint"
            }

            test "a mask is a function of seed, epoch and index" {
                let a = BlocksAugmenter(whole 32 32, paper)
                let b = BlocksAugmenter(whole 32 32, paper)
                Expect.equal (draw b 7UL 3 5L) (draw a 7UL 3 5L) "the same"

                let others =
                    [ draw a 8UL 3 5L; draw a 7UL 4 5L; draw a 7UL 3 6L; draw a 7UL 3 5L ]
                    |> List.distinct

                Expect.equal others.Length 4 "each coordinate matters"
            }

            test "blocks lie anywhere, in every rectangle" {
                let a = BlocksAugmenter(whole 32 32, paper)
                let n = 6000
                let places = Dictionary<int * int * int * int, int>()
                let shown = Array.zeroCreate<int> a.Patches

                for index in 0L .. int64 n - 1L do
                    let context, blocks = draw a 1UL 0 index
                    let place = rectangle a.Columns blocks[0]
                    places[place] <- places.GetValueOrDefault place + 1

                    for p in context do
                        shown[int p] <- shown[int p] + 1

                // The first block is never refused: uniform over its two rectangles and 6·5 places of each.
                Expect.equal places.Count 60 "places"

                for p in places do
                    near $"{p.Key}" n (1. / 60.) p.Value

                // Blocks of four, the square and what is dropped know no direction: the four corners are alike, and so are opposite patches.
                for p in 0 .. a.Patches / 2 - 1 do
                    let other = a.Patches - 1 - p
                    let both = shown[p] + shown[other]

                    Expect.isLessThan
                        (abs (float (shown[p] - shown[other])))
                        (5. * sqrt (float both))
                        $"patches {p} and {other}: {shown[p]} and {shown[other]}"

                Expect.isGreaterThan shown[0] shown[27] "corners are shown more often than the middle"
                Expect.all shown (fun s -> s > 0) "every patch is sometimes shown"
            }

            test "the square of the context limits what is shown" {
                let a = BlocksAugmenter(whole 32 32, BlocksOptions(4, 1, 0.15, 0.2, 0.75, 1.5, 0.5, 0.5, 0.3))

                for index in 0L .. 199L do
                    let context, _ = draw a 1UL 0 index

                    let side (f: int64 -> int64) =
                        Array.max (Array.map f context) - Array.min (Array.map f context) + 1L

                    Expect.isLessThanOrEqual (side (fun p -> p / 8L)) 6L "rows of a square of half of 64 patches"
                    Expect.isLessThanOrEqual (side (fun p -> p % 8L)) 6L "columns"
            }

            test "where there is no room, blocks lie on each other and drawing ends" {
                let hiddenBy visible contextFrom index =
                    let a =
                        BlocksAugmenter(
                            whole 32 32,
                            BlocksOptions(4, 4, 0.15, 0.2, 0.75, 1.5, contextFrom, 1., visible)
                        )

                    let context, blocks = draw a 5UL 0 index
                    Expect.equal (Set.ofArray context).Count a.ContextCount "the context is whole"
                    blocks, (Set.ofArray (Array.concat blocks)).Count

                for index in 0L .. 99L do
                    let blocks, hidden = hiddenBy (52. / 64.) 1. index
                    Expect.equal hidden 12 "room for one target"
                    Expect.equal (Array.distinct blocks).Length 1 "four times the same"
                    let _, hidden = hiddenBy (44. / 64.) 1. index
                    Expect.isLessThanOrEqual hidden 20 "room for more than one, less than two"
            }
        ]

/// Rows of a batch of these images, index = 100 + slot: images, context, targets.
let private rendered (a: BlocksAugmenter) (images: byte[][]) =
    let n = images.Length
    let view = Array.zeroCreate<float32>(n * int a.Buffers[0].RowElements)
    let context = Array.zeroCreate<int64>(n * a.ContextCount)
    let targets = Array.zeroCreate<int64>(n * a.Blocks * a.TargetCount)

    let handles =
        [| box view; box context; box targets |]
        |> Array.map (fun b -> GCHandle.Alloc(b, GCHandleType.Pinned))

    let memory = BatchMemory(handles |> Array.map _.AddrOfPinnedObject(), a.Buffers, Count = n)

    let render () =
        for i in 0 .. n - 1 do
            let s =
                Sample(
                    Pixels = ReadOnlySpan(images[i]),
                    Label = 0,
                    Seed = 9UL,
                    Epoch = 2,
                    Index = 100L + int64 i,
                    Slot = i
                )

            a.Render(&s, memory)

    (view, context, targets), render, (fun () -> handles |> Array.iter _.Free())

let private rendering =
    testList
        "rendering"
        [
            test "the view is the pipeline's, the mask that of its position" {
                let source = ImageShape(20, 24, 3)

                let ops: ViewOp[] =
                    [|
                        SslResearch.Core.Augment.ResizedCrop(0.3, 1., 0.75, 4. / 3., 16, 16, Interpolation.Bilinear)
                        SslResearch.Core.Augment.Flip 0.5
                    |]

                let p = ViewPipeline(source, ops, normalisation)
                let a = BlocksAugmenter(p, paper)
                let images = Array.init 3 (fun i -> Array.init source.Bytes (fun k -> byte ((k * 7 + i * 31) % 251)))
                let (view, context, targets), render, free = rendered a images
                render ()
                free ()
                Expect.equal [ for b in a.Buffers -> b.Name ] [ "images"; "context"; "targets" ] "buffers"
                Expect.equal a.Views.Count 1 "one pipeline"

                for i in 0..2 do
                    let index = 100L + int64 i
                    let mutable drawn = p.Draw(9UL, 2, index, 0)
                    let expected = Array.zeroCreate<float32> p.OutputFloats
                    p.Render(ReadOnlySpan(images[i]), &drawn, Span expected)
                    Expect.equal (Array.sub view (i * p.OutputFloats) p.OutputFloats) expected "pixels"
                    let shown, blocks = draw a 9UL 2 index
                    Expect.equal (Array.sub context (i * a.ContextCount) a.ContextCount) shown "context"

                    Expect.equal
                        (Array.sub targets (i * 4 * a.TargetCount) (4 * a.TargetCount))
                        (Array.concat blocks)
                        "targets"
            }

            test "batches are the same for any number of workers" {
                let source = ImageShape(16, 16, 3)
                let pixels = Array.init (12 * source.Bytes) (fun i -> byte ((i * 7 + i / 192 * 31) % 251))

                use store =
                    ImageStore.FromMemory(
                        "numbers",
                        source,
                        pixels,
                        Array.init 12 (fun i -> i % 2),
                        [| "a"; "b" |],
                        "train"
                    )

                let batches workers =
                    use loader =
                        new Loader<ContextTargets>(
                            store,
                            BlocksAugmenter(whole 16 16, paper),
                            LoaderOptions(4, 3UL, workers, 2, true),
                            torch.CPU,
                            0L
                        )

                    [
                        for _ in 1..5 do
                            let views = loader.Next().Views
                            Expect.equal (views.Count, views.Blocks, views.Patches) (4L, 4, 16) "counts"

                            (views.Context.data<int64>().ToArray(), views.Targets.data<int64>().ToArray())
                    ]

                let expected = batches 1
                Expect.equal (batches 3) expected "three workers"
                Expect.equal (List.distinct expected).Length 5 "batches differ"
            }

            test "rendering allocates nothing" {
                let a = BlocksAugmenter(whole 32 32, withVisible 0.4)
                let images = Array.init 8 (fun i -> Array.create (32 * 32 * 3) (byte i))
                let _, render, free = rendered a images

                // A loop of the test itself would allocate its enumerator.
                let often () =
                    for _ in 1..40 do
                        render ()

                try
                    often ()
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    often ()
                    Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
                finally
                    free ()
            }
        ]

let private refusals =
    testList
        "what cannot be"
        [
            test "impossible masks are refused with a way out" {
                let build options =
                    fun () -> box (BlocksAugmenter(whole 32 32, options))

                refused
                    "patches of 5 pixels do not divide views of 32x32x3"
                    (build (BlocksOptions(5, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25)))

                refused
                    "no rectangle of 9 to 13 patches, 1.1 to 1.2 times as high as wide, fits 8x8 patches: widen either range"
                    (build (BlocksOptions(4, 4, 0.15, 0.2, 1.1, 1.2, 0.85, 1., 0.25)))

                refused
                    "a context block of 49 of 8x8 patches, less a target of 12, leaves fewer than the 38 that are to be shown: show fewer"
                    (build (withVisible 0.6))

                refused "received 4 and 0" (build (BlocksOptions(4, 0, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25)))
                refused "received 0 and 4" (build (BlocksOptions(0, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25)))
                refused "targets of 0.3 to 0.2" (build (BlocksOptions(4, 4, 0.3, 0.2, 0.75, 1.5, 0.85, 1., 0.25)))
                refused "ratios 0 to 1.5" (build (BlocksOptions(4, 4, 0.15, 0.2, 0., 1.5, 0.85, 1., 0.25)))

                refused
                    "context blocks of 0.85 to 1.1"
                    (build (BlocksOptions(4, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1.1, 0.25)))

                refused "of which 0 is shown" (build (withVisible 0.))
                refused "targets of NaN to 0.2" (build (BlocksOptions(4, 4, nan, 0.2, 0.75, 1.5, 0.85, 1., 0.25)))

                refused "65x65 patches are more than 4096" (fun () ->
                    box (BlocksAugmenter(whole 65 65, BlocksOptions(1, 4, 0.15, 0.2, 0.75, 1.5, 0.85, 1., 0.25))))
            }

            test "the batch type checks its shapes" {
                use scope = torch.NewDisposeScope()
                let images = torch.zeros (2L, 3L, 8L, 8L)

                let whole (rows: int64) (width: int64) =
                    torch.zeros ([| rows; width |], dtype = torch.int64)

                let views = ContextTargets(images, whole 2L 3L, whole 2L 8L, 4, 16)
                Expect.equal (views.Count, views.Blocks, views.Patches) (2L, 4, 16) "counts"

                let other part context targets blocks =
                    refused part (fun () -> ContextTargets(images, context, targets, blocks, 16))

                other "expected (2, Kc), received (3, 3)" (whole 3L 3L) (whole 2L 8L) 4
                other "expected (2, Kc), received (2, 0)" (whole 2L 0L) (whole 2L 8L) 4
                other "expected (2, 4·Kt), received (2, 6)" (whole 2L 3L) (whole 2L 6L) 4
                other "expected (2, 0·Kt)" (whole 2L 3L) (whole 2L 8L) 0
                refused "at least 1 patch" (fun () -> box (ContextTargets(images, whole 2L 3L, whole 2L 8L, 4, 0)))

                refused "expected (N, C, H, W)" (fun () ->
                    box (ContextTargets(torch.zeros (2L, 3L), whole 2L 3L, whole 2L 8L, 4, 16)))
            }

            test "as a value: operations, facts, and masks that a check refuses" {
                let ops = [ CropTo(16, 0.3, 1.); OpForms.Flip 0.5 ]
                let views = contextTargets 4 TargetBlocks.Default ops
                Expect.equal views.Views [ "view", ops ] "one view"
                let fewer = views.WithViews [ [ CropTo(16, 0.3, 1.) ] ]
                Expect.equal fewer.Views [ "view", [ CropTo(16, 0.3, 1.) ] ] "other operations"
                Expect.throwsT<ArgumentException> (fun () -> views.WithViews [] |> ignore) "none"

                Expect.equal
                    views.Facts
                    [
                        "targets", "4 blocks of 0.15 to 0.2, ratio 0.75 to 1.5, patch 4"
                        "context", "0.25 of the patches, from a square of 0.85 to 1"
                    ]
                    "facts"

                let problems blocks =
                    let tiny = MethodKit.tiny "I-JEPA" (contextTargets 4 blocks ops) IJepa.CpuCifar

                    Check.runs
                        [
                            Run.ofExperiment
                                { tiny with
                                    Setting =
                                        { tiny.Setting with
                                            Backbone = VitTiny 16 4
                                        }
                                }
                        ]

                Expect.isEmpty (problems TargetBlocks.Default) "the paper's values"

                let wrong =
                    problems
                        { TargetBlocks.Default with
                            MaxTargetRatio = 0.8
                        }

                Expect.equal (wrong |> List.map _.Where) [ "I-JEPA: Augment" ] "one problem"
                Expect.stringContains wrong.Head.What "no rectangle of 2 to 4 patches" "which says why"

                let onResNet = Check.runs [ Run.ofExperiment (MethodKit.tiny "I-JEPA" views IJepa.CpuCifar) ]

                Expect.equal (onResNet |> List.map _.Where) [ "I-JEPA: Setting.Backbone" ] "a ResNet"
            }
        ]

[<Tests>]
let tests = testList "context and targets" [ masks; rendering; refusals ]

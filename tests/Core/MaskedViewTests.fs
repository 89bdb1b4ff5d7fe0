/// Which patches are hidden.
module Tests.Core.MaskedViewTests

open System
open Expecto
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open Tests.Support

let private build side patch ratio shape =
    let augmentation: IAugmentation<SslResearch.Core.Views.MaskedView> =
        {
            Patch = patch
            Ratio = ratio
            Shape = shape
            Ops = []
        }

    augmentation.Build(ImageShape(side, side, 3), (Data.constants Cifar10).Value) :?> MaskedAugmenter

/// The hidden patches of one image as a grid.
let private grid (a: MaskedAugmenter) seed epoch index =
    let order = Array.zeroCreate<int64>(a.Rows * a.Columns)
    a.Draw(seed, epoch, index, Span order)
    let hidden = Array2D.create a.Rows a.Columns false

    for patch in order[order.Length - a.Hidden ..] do
        hidden[int patch / a.Columns, int patch % a.Columns] <- true

    order, hidden

let private shapes = [ Scattered 1; Scattered 2; Blockwise(1, 0.3); Blockwise(5, 0.5) ]

/// Largest number of hidden patches in a rectangle that is hidden as a whole, naively.
let private largestRectangle (hidden: bool[,]) =
    let rows, columns = Array2D.length1 hidden, Array2D.length2 hidden

    List.max
        [
            for top in 0 .. rows - 1 do
                for left in 0 .. columns - 1 do
                    for bottom in top .. rows - 1 do
                        for right in left .. columns - 1 do
                            let whole =
                                seq {
                                    for y in top..bottom do
                                        for x in left..right -> hidden[y, x]
                                }
                                |> Seq.forall id

                            if whole then (bottom - top + 1) * (right - left + 1) else 0
        ]

[<Tests>]
let tests =
    testList
        "masked views"
        [
            test "every image hides the same number, names every patch once, and another set than its neighbours" {
                for shape in shapes do
                    for ratio in [ 0.15; 0.4; 0.75; 0.9 ] do
                        let a = build 32 4 ratio shape

                        let expected =
                            match shape with
                            | Scattered unit -> int (Math.Round(ratio * 64. / float (unit * unit))) * unit * unit
                            | Blockwise _ -> int (Math.Round(ratio * 64.))

                        Expect.equal a.Hidden expected $"{shape} {ratio}"

                        let sets =
                            [
                                for index in 0L .. 19L do
                                    let order, hidden = grid a 3UL 1 index
                                    Expect.equal (Array.sort order) [| 0L .. 63L |] "every patch once"

                                    Expect.equal
                                        (hidden |> Seq.cast<bool> |> Seq.filter id |> Seq.length)
                                        a.Hidden
                                        "as many hidden"

                                    Array.sort order[64 - a.Hidden ..]
                            ]

                        Expect.isGreaterThan (List.distinct sets).Length 15 $"{shape} {ratio}: sets of 20 images"
            }

            test "a mask is a function of seed, epoch and image" {
                for shape in shapes do
                    let a = build 32 4 0.5 shape
                    let at seed epoch index = fst (grid a seed epoch index)
                    Expect.equal (at 3UL 2 7L) (at 3UL 2 7L) "the same again"
                    Expect.notEqual (at 4UL 2 7L) (at 3UL 2 7L) "another seed"
                    Expect.notEqual (at 3UL 3 7L) (at 3UL 2 7L) "another epoch"
                    Expect.notEqual (at 3UL 2 8L) (at 3UL 2 7L) "another image"
            }

            test "scattered patches are hidden equally often" {
                let a = build 32 4 0.75 (Scattered 1)
                let images = 4000
                let counts = Array.zeroCreate<int> 64

                for index in 0 .. images - 1 do
                    let order, _ = grid a 9UL 0 (int64 index)

                    for patch in order[64 - a.Hidden ..] do
                        counts[int patch] <- counts[int patch] + 1

                // Standard deviation of a count: √(4000·0.75·0.25) = 27.
                for count in counts do
                    Expect.isLessThan (abs (float count - 3000.)) (5. * 27.4) "hidden in three quarters of the images"
            }

            test "squares are hidden whole" {
                let a = build 32 4 0.5 (Scattered 2)

                for index in 0L .. 49L do
                    let _, hidden = grid a 1UL 0 index

                    for y in 0..2..6 do
                        for x in 0..2..6 do
                            let square = [ hidden[y, x]; hidden[y, x + 1]; hidden[y + 1, x]; hidden[y + 1, x + 1] ]
                            Expect.equal (List.distinct square).Length 1 "all four or none"
            }

            test "blocks are blocks: what they hide hangs together more than scattered patches" {
                let mean shape =
                    let a = build 32 4 0.4 shape

                    List.averageBy (fun index -> float (largestRectangle (snd (grid a 5UL 0 index)))) [ 0L .. 59L ]

                let blocks, scattered = mean (Blockwise(5, 0.3)), mean (Scattered 1)

                Expect.isGreaterThan
                    blocks
                    (2. * scattered)
                    $"largest rectangle: blocks {blocks}, scattered {scattered}"
                // Unless it is cut off by the last one wanted, the first block has at least 5 patches.
                let a = build 32 4 0.4 (Blockwise(5, 0.3))

                for index in 0L .. 59L do
                    Expect.isGreaterThanOrEqual (largestRectangle (snd (grid a 5UL 0 index))) 4 "a whole block"
            }

            test "one block alone has the ratio that was asked for" {
                // All wanted patches at once: a block of 16 to 16 patches, at most twice as high as wide.
                let mask = BlockPatches(16, 0.5)

                for sample in 0u .. 99u do
                    let mutable random = Philox(1UL, RandomPurpose.Mask, 0u, sample)
                    let hidden = Array.zeroCreate<bool>(20 * 20)
                    mask.Draw(&random, 20, 20, 16, Span hidden)

                    let places =
                        [
                            for i in 0..399 do
                                if hidden[i] then
                                    i / 20, i % 20
                        ]

                    Expect.equal places.Length 16 "count"

                    // Rounding of the sides may leave a patch or two to a second block.
                    let rows = places |> List.countBy fst |> List.map snd |> List.max
                    let columns = places |> List.countBy snd |> List.map snd |> List.max

                    Expect.isLessThanOrEqual
                        (max rows columns)
                        8
                        "no side longer than √(16·2), rounded, and what is left"
            }

            test "whatever is asked for is hidden exactly, on any grid" {
                for rows in 1..6 do
                    for columns in 1..6 do
                        for count in 0 .. rows * columns do
                            let mutable random =
                                Philox(2UL, RandomPurpose.Mask, uint32 rows, uint32 (columns * 100 + count))

                            let hidden = Array.create (rows * columns) true
                            BlockPatches(3, 0.3).Draw(&random, rows, columns, count, Span hidden)
                            Expect.equal (hidden |> Array.filter id |> Array.length) count $"{rows}×{columns}, {count}"
            }

            test "drawing masks allocates nothing" {
                for shape in shapes do
                    let a = build 32 4 0.5 shape
                    let order = Array.zeroCreate<int64> 64

                    let go () =
                        for index in 0L .. 300L do
                            a.Draw(1UL, 0, index, Span order)

                    go ()
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    go ()
                    Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L $"{shape}"
            }

            test "what cannot be is said" {
                let fails text build =
                    let error = Expect.throwsC (fun () -> build () |> ignore) id
                    Expect.stringContains error.Message text "message"

                fails "do not tile" (fun () -> build 30 4 0.5 (Scattered 1))
                fails "squares of 3x3" (fun () -> build 32 4 0.5 (Scattered 3))
                fails "at least one has to be hidden" (fun () -> build 32 4 0.001 (Scattered 1))
                fails "from 0 to 1" (fun () -> build 32 4 1.5 (Scattered 1))
                fails "at least 1 patch" (fun () -> build 32 4 0.5 (Blockwise(0, 0.3)))
            }
        ]

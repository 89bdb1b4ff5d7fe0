module Tests.Core.MaskedCropsTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views

let private source = ImageShape(16, 16, 3)

let private store count =
    let pixels = Array.init (count * source.Bytes) (fun i -> byte ((i * 7 + i / 192 * 31) % 251))
    ImageStore.FromMemory("numbers", source, pixels, Array.init count (fun i -> i % 2), [| "a"; "b" |], "train")

let private normalisation =
    {
        Mean = [ 0.5; 0.5; 0.5 ]
        Std = [ 0.25; 0.25; 0.25 ]
    }

let private large, private small =
    [ CropTo(12, 0.4, 1.); OpForms.Flip 0.5 ], [ CropTo(8, 0.1, 0.4) ]

let private usual =
    {
        Crops = multiCrop large small 2
        Patch = 2
        Probability = 0.5
        MinShare = 0.1
        MaxShare = 0.5
        Hidden = HiddenPatches.Rectangles(4, 0.3)
    }

let private build (a: MaskedCropsOf) =
    (a :> IAugmentation<MaskedCrops>).Build(source, normalisation)

let private values (t: torch.Tensor) =
    t.contiguous().data<float32>().ToArray()

let private message (f: unit -> obj) =
    try
        f () |> ignore
        failtest "accepted"
    with :? ArgumentException as e ->
        e.Message

let private rectangles least =
    CropMaskOptions(2, 1., 0.1, 0.6, CropMaskBlocks(least, 0.3))

let private strewn = CropMaskOptions(2, 1., 0.1, 0.6, null)

let private draw (mask: CropMask) index view =
    let row = Array.create mask.Patches nanf
    let count = mask.Draw(7UL, 1, index, view, Span row)
    count, row

/// Pairs of neighbours that are both hidden.
let private touching columns (row: float32[]) =
    Seq.sum
        [
            for p in 0 .. row.Length - 1 do
                if row[p] = 1f then
                    if p % columns < columns - 1 && row[p + 1] = 1f then
                        1

                    if p + columns < row.Length && row[p + columns] = 1f then
                        1
        ]

[<Tests>]
let tests =
    testList
        "masked crops"
        [
            test "the batch type: counts and shapes" {
                use scope = torch.NewDisposeScope()
                let zeros (shape: int64 list) = torch.zeros (Array.ofList shape)
                let globals = zeros [ 6L; 3L; 6L; 6L ]
                let views = MaskedCrops(globals, zeros [ 12L; 3L; 4L; 4L ], zeros [ 6L; 9L ], 4)
                Expect.equal (views.Count, views.Crops.CropCount, views.Patches, views.Most) (3L, 6, 9, 4) "numbers"

                let says part masks most =
                    Expect.stringContains (message (fun () -> MaskedCrops(globals, null, zeros masks, most))) part part

                says "expected (6, P), received (3, 9)" [ 3L; 9L ] 4
                says "expected (6, P), received (6)" [ 6L ] 4
                says "expected 1 to 9 patches, received 0" [ 6L; 9L ] 0
                says "expected 1 to 9 patches, received 10" [ 6L; 9L ] 10
            }

            test "a mask hides exactly its number of patches, within the range, as 0 and 1" {
                for rows, columns in [ 3, 3; 6, 6; 4, 9; 14, 14; 1, 5; 1, 1 ] do
                    for options in [ strewn; rectangles 4; rectangles 1 ] do
                        let mask = CropMask(rows, columns, options)
                        let patches = float (rows * columns)
                        Expect.equal mask.Most (max 1 (int (Math.Round(0.6 * patches, MidpointRounding.AwayFromZero)))) "most"

                        for i in 0L .. 199L do
                            let count, row = draw mask i 0
                            Expect.all row (fun m -> m = 0f || m = 1f) "0 or 1"
                            Expect.equal (row |> Array.sumBy int) count "as many as it says"
                            Expect.isTrue (count >= 1 && count <= mask.Most) $"{count} of {patches}"
                            Expect.isGreaterThanOrEqual (float count) (Math.Floor(0.1 * patches)) "not below the range"
            }

            test "crops hide patches with the probability, each its own" {
                let mask = CropMask(6, 6, CropMaskOptions(2, 0.3, 0.1, 0.5, CropMaskBlocks(4, 0.3)))
                let drawn = [ for i in 0L .. 1999L -> fst (draw mask i (int i % 2)) ]
                let share = (drawn |> List.filter (fun c -> c > 0) |> List.length |> float) / 2000.
                Expect.isLessThan (abs (share - 0.3)) 0.04 "share of masked crops: 4 deviations"
                let masked = drawn |> List.filter (fun c -> c > 0)
                Expect.isLessThan (abs (List.averageBy float masked / 36. - 0.3)) 0.02 "mean part"
                Expect.equal (List.min masked, List.max masked) (4, 18) "the whole range"

                let never = CropMask(6, 6, CropMaskOptions(2, 0., 0.1, 0.5, null))
                Expect.all [ for i in 0L .. 99L -> fst (draw never i 0) ] ((=) 0) "never"
                let all = CropMask(6, 6, CropMaskOptions(2, 1., 1., 1., CropMaskBlocks(4, 0.3)))
                Expect.equal (fst (draw all 0L 0)) 36 "all patches"
            }

            test "every patch is hidden as often as any other when strewn, and nearly so in rectangles away from the rim" {
                let often options =
                    let mask = CropMask(6, 6, options)
                    let rows = [| for i in 0L .. 3999L -> snd (draw mask i 0) |]
                    Array.init 36 (fun p -> rows |> Array.averageBy (fun row -> float row[p]))

                let at = often strewn
                Expect.all at (fun share -> abs (share - 0.35) < 0.035) "strewn: 4 deviations"
                let inRectangles = often (rectangles 4)
                let inner = [ for p in [ 7; 8; 9; 10; 13; 16; 19; 22; 25; 26; 27; 28 ] -> inRectangles[p] ]
                Expect.all inner (fun share -> share > 0.25 && share < 0.6) "rectangles"
            }

            test "rectangles hold together: far more neighbours are hidden with them" {
                let mean options =
                    let mask = CropMask(8, 8, options)

                    List.averageBy
                        float
                        [
                            for i in 0L .. 499L ->
                                let _, row = draw mask i 0
                                touching 8 row
                        ]

                Expect.isGreaterThan (mean (rectangles 4)) (1.5 * mean strewn) "touching pairs"
            }

            test "a mask is a function of seed, epoch, image and crop" {
                let mask = CropMask(6, 6, strewn)
                Expect.equal (draw mask 3L 0) (draw mask 3L 0) "again"
                Expect.notEqual (draw mask 3L 0) (draw mask 4L 0) "another image"
                Expect.notEqual (draw mask 3L 0) (draw mask 3L 1) "another crop"
                let row = Array.zeroCreate<float32> 36
                mask.Draw(7UL, 2, 3L, 0, Span row) |> ignore
                Expect.notEqual row (snd (draw mask 3L 0)) "another epoch"
                mask.Draw(8UL, 1, 3L, 0, Span row) |> ignore
                Expect.notEqual row (snd (draw mask 3L 0)) "another seed"
            }

            test "crops are those without masks, masks those of their crop, for any number of workers" {
                let augmenter = build usual
                let plain = usual.Crops.Build(source, normalisation)

                Expect.equal
                    [ for b in augmenter.Buffers -> b.Name, b.RowsPerImage, List.ofSeq b.RowShape ]
                    [ "globals", 2, [ 3L; 12L; 12L ]; "locals", 2, [ 3L; 8L; 8L ]; "masks", 2, [ 36L ] ]
                    "buffers"

                Expect.equal (augmenter :?> IViewSource).Views.Count 4 "a pipeline for each crop"
                let mask = CropMask(6, 6, CropMaskOptions(2, 0.5, 0.1, 0.5, CropMaskBlocks(4, 0.3)))
                use images = store 10

                for workers in [ 1; 3 ] do
                    let options = LoaderOptions(4, 3UL, workers, 2, false)
                    use loader = new Loader<MaskedCrops>(images, augmenter, options, torch.CPU, 0L)
                    use other = new Loader<MultiCrop>(images, plain, options, torch.CPU, 0L)

                    for _ in 1..4 do // the third batch of an epoch holds two images
                        let batch = loader.Next()
                        let expected = other.Next().Views
                        Expect.equal (values batch.Views.Globals) (values expected.Globals) "large crops"
                        Expect.equal (values batch.Views.Locals) (values expected.Locals) "small crops"
                        Expect.equal batch.Views.Most 18 "the most"
                        let indices = batch.Indices.ToArray()
                        let rows = values batch.Views.Masks |> Array.chunkBySize 36
                        Expect.hasLength rows (2 * indices.Length) "rows"

                        for i in 0 .. indices.Length - 1 do
                            for v in 0..1 do
                                let row = Array.zeroCreate<float32> 36
                                mask.Draw(3UL, batch.Epoch, int64 indices[i], v, Span row) |> ignore
                                Expect.equal rows[v * indices.Length + i] row $"image {i}, crop {v}"
            }

            test "without small crops there are two buffers" {
                let augmenter =
                    build
                        { usual with
                            Crops = multiCrop large [] 0
                        }

                Expect.equal augmenter.Buffers.Count 2 "buffers"
                use images = store 8
                use loader = new Loader<MaskedCrops>(images, augmenter, LoaderOptions(4, 3UL, 1, 2, true), torch.CPU, 0L)
                let views = loader.Next().Views
                Expect.isNull views.Locals "no small crops"
                Expect.equal views.Masks.shape [| 8L; 36L |] "masks"
            }

            test "drawing allocates nothing" {
                for options in [ strewn; rectangles 4 ] do
                    let mask = CropMask(14, 14, options)
                    let row = Array.zeroCreate<float32> 196

                    let go n =
                        for i in 1L .. n do
                            mask.Draw(7UL, 1, i, 0, Span row) |> ignore

                    go 300L
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    go 300L
                    Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
            }

            test "what cannot be drawn is refused with a clear message" {
                let says part (change: MaskedCropsOf) =
                    Expect.stringContains (message (fun () -> build change)) part part

                says "patches of 5 pixels do not divide large crops of 12x12" { usual with Patch = 5 }
                says "patches of 0 pixels" { usual with Patch = 0 }
                says "a probability from 0 to 1; received 1.5" { usual with Probability = 1.5 }
                says "received 0.6 to 0.5" { usual with MinShare = 0.6 }
                says "received 0.1 to 1.1" { usual with MaxShare = 1.1 }

                says
                    "received 0 and 0.3"
                    { usual with
                        Hidden = HiddenPatches.Rectangles(0, 0.3)
                    }

                says
                    "received 4 and 2"
                    { usual with
                        Hidden = HiddenPatches.Rectangles(4, 2.)
                    }
            }

            test "as values: the crops' kinds of views and operations, masks as facts" {
                let masked = maskedCrops 2 (multiCrop large small 4)
                Expect.equal masked.Views (multiCrop large small 4).Views "views"

                Expect.equal
                    masked.Facts
                    [
                        "small crops", "4"
                        "masks", "p 0.5, 0.1–0.5 of patches of 2 px, in rectangles from 4 patches, ratio from 0.3"
                    ]
                    "facts"

                let changed = masked.WithViews [ large; large; small @ large ]
                Expect.equal (changed.Views |> List.map snd |> List.last) (small @ large) "other operations"
                Expect.equal changed.Facts masked.Facts "the same masks"
                Expect.equal (Augmentation.leaveOneOut masked |> List.map fst) [ "crop"; "flip" ] "leave one out"
                let text = Canonical.text "Augment" (box masked)

                for part in
                    [
                        "Augment.Patch = 2"
                        "Augment.Probability = 0.5"
                        "Augment.Hidden = Rectangles"
                        "Augment.Crops.LocalCount = 4"
                    ] do
                    Expect.stringContains text part "part of a run's identity"
            }

            test "impossible settings of iBOT and DINOv2 are problems with a place" {
                let places (m: IMethod<MaskedCrops>) = m.Problems |> List.map _.Where
                Expect.isEmpty (places Ibot.Default @ places Ibot.CpuCifar) "iBOT's presets"
                Expect.isEmpty (places DinoV2.Default @ places DinoV2.CpuCifar) "DINOv2's presets"

                Expect.equal
                    (places
                        { Ibot.Default with
                            Head.Layers = 0
                            PatchTemperature = 0.
                            Centring = TeacherCentring.Centre 2.
                            ClsWeight = 0.
                            PatchWeight = 0.
                        })
                    [ "Head.Layers"; "PatchTemperature"; "Centring.momentum"; "ClsWeight, PatchWeight" ]
                    "iBOT"

                Expect.equal
                    (places
                        { DinoV2.Default with
                            Centring = TeacherCentring.Sinkhorn 0
                            KoLeoWeight = -1.
                        })
                    [ "Centring.iterations"; "KoLeoWeight" ]
                    "DINOv2"

                let facts (m: IMethod<MaskedCrops>) = Map.ofList m.Facts
                Expect.equal (Map.find "teacher temperature" (facts Ibot.Default)) "0.04 to 0.07 over 0.0375" "warm-up"
                Expect.equal (Map.find "patch projection" (facts Ibot.Default)) "the same" "one head"
                Expect.equal (Map.find "KoLeo weight" (facts DinoV2.Default)) "0.1" "KoLeo"
            }

            test "a ResNet under them is a problem before anything runs, and so are patches of another size" {
                let problems backbone patch =
                    { Tests.Support.MethodKit.tiny "a" (maskedCrops patch (multiCrop large small 1)) Ibot.CpuCifar with
                        Setting =
                            { Tests.Support.MethodKit.setting with
                                Backbone = backbone
                            }
                    }
                    |> Run.ofExperiment
                    |> List.singleton
                    |> Check.runs
                    |> List.map string
                    |> String.concat "\n"

                Expect.stringContains (problems SmallResNet 2) "iBOT hides patches from its encoder" "a ResNet"
                Expect.stringContains (problems (VitTiny 16 4) 5) "patches of 5 pixels do not divide" "the masks' patch"
                Expect.equal (problems (VitTiny 16 4) 4) "" "a transformer"
            }
        ]

module Tests.Core.MaskedCropsTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views
open Tests.Support.Refusals

let private source = ImageShape(16, 16, 3)

let private store count =
    let pixels = Array.init (count * source.Bytes) (fun i -> byte ((i * 7 + i / 192 * 31) % 251))
    ImageStore.FromMemory("numbers", source, pixels, Array.init count (fun i -> i % 2), [| "a"; "b" |], "train")

let private normalisation =
    {
        Mean = [ 0.5; 0.5; 0.5 ]
        Std = [ 0.25; 0.25; 0.25 ]
    }

let private large, private small = [ CropTo(12, 0.4, 1.); OpForms.Flip 0.5 ], [ CropTo(8, 0.1, 0.4) ]

let private usual =
    {
        Crops = multiCrop large small 2
        Patch = 2
        Probability = 0.5
        MinShare = 0.1
        MaxShare = 0.5
        Shape = Blockwise(4, 0.3)
    }

let private build (a: MaskedCropsOf) =
    (a :> IAugmentation<MaskedCrops>).Build(source, normalisation)

let private values (t: torch.Tensor) =
    t.contiguous().data<float32>().ToArray()

/// Large crops of so many patches of one pixel, and their masks.
let private masks side (probability, minShare, maxShare) shape =
    let ops: ViewOp[] =
        [|
            SslResearch.Core.Augment.ResizedCrop(1., 1., 1., 1., side, side, Interpolation.Bilinear)
        |]

    let pipeline = ViewPipeline(source, ops, Augmentation.channels normalisation)

    MaskedCropsAugmenter(
        MultiCropAugmenter(pipeline, pipeline, null, 0),
        CropMaskOptions(1, probability, minShare, maxShare, shape)
    )

let private shapes: PatchMask list = [ RandomPatches 1; BlockPatches(4, 0.3) ]

let private draw (augmenter: MaskedCropsAugmenter) index view =
    let row = Array.create (int augmenter.Buffers[1].RowElements) nanf
    let count = augmenter.Draw(7UL, 1, index, view, Span row)
    count, row

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
                for side in [ 3; 6; 14 ] do
                    for shape in shapes do
                        let augmenter = masks side (1., 0.1, 0.6) shape
                        let patches = float (side * side)

                        for i in 0L .. 199L do
                            let count, row = draw augmenter i 0
                            Expect.all row (fun m -> m = 0f || m = 1f) "0 or 1"
                            Expect.equal (row |> Array.sumBy int) count "as many as it says"
                            Expect.isTrue (float count >= 0.1 * patches - 0.5) $"{count} of {patches}"
                            Expect.isTrue (float count <= 0.6 * patches + 0.5) $"{count} of {patches}"
            }

            test "crops hide patches with the probability, over the whole range" {
                for shape in shapes do
                    let augmenter = masks 6 (0.3, 0.1, 0.5) shape
                    let drawn = [ for i in 0L .. 1999L -> fst (draw augmenter i (int i % 2)) ]
                    let hiding = drawn |> List.filter (fun c -> c > 0)
                    let share = float hiding.Length / 2000.
                    Expect.isLessThan (abs (share - 0.3)) 0.04 "share of masked crops: 4 deviations"
                    Expect.isLessThan (abs (List.averageBy float hiding / 36. - 0.3)) 0.025 "mean part"
                    Expect.equal (List.min hiding, List.max hiding) (4, 18) "the whole range"

                    let never = masks 6 (0., 0.1, 0.5) shape
                    Expect.all [ for i in 0L .. 99L -> fst (draw never i 0) ] ((=) 0) "never"
                    Expect.equal (fst (draw (masks 6 (1., 1., 1.) shape) 0L 0)) 36 "all patches"
            }

            test "a mask is a function of seed, epoch, image and crop" {
                let augmenter = masks 6 (1., 0.1, 0.5) (RandomPatches 1)
                Expect.equal (draw augmenter 3L 0) (draw augmenter 3L 0) "again"
                Expect.notEqual (draw augmenter 3L 0) (draw augmenter 4L 0) "another image"
                Expect.notEqual (draw augmenter 3L 0) (draw augmenter 3L 1) "another crop"
                let row = Array.zeroCreate<float32> 36
                augmenter.Draw(7UL, 2, 3L, 0, Span row) |> ignore
                Expect.notEqual row (snd (draw augmenter 3L 0)) "another epoch"
                augmenter.Draw(8UL, 1, 3L, 0, Span row) |> ignore
                Expect.notEqual row (snd (draw augmenter 3L 0)) "another seed"
            }

            test "crops are those without masks, masks those of their crop, for any number of workers" {
                let augmenter = build usual
                let plain = usual.Crops.Build(source, normalisation)

                Expect.equal
                    [ for b in augmenter.Buffers -> b.Name, b.RowsPerImage, List.ofSeq b.RowShape ]
                    [
                        "globals", 2, [ 3L; 12L; 12L ]
                        "locals", 2, [ 3L; 8L; 8L ]
                        "masks", 2, [ 36L ]
                    ]
                    "buffers"

                Expect.equal (augmenter :?> IViewSource).Views.Count 4 "a pipeline for each crop"
                let masks = augmenter :?> MaskedCropsAugmenter
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
                                masks.Draw(3UL, batch.Epoch, int64 indices[i], v, Span row) |> ignore
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

                use loader =
                    new Loader<MaskedCrops>(images, augmenter, LoaderOptions(4, 3UL, 1, 2, true), torch.CPU, 0L)

                let views = loader.Next().Views
                Expect.isNull views.Locals "no small crops"
                Expect.equal views.Masks.shape [| 8L; 36L |] "masks"
            }

            test "drawing allocates nothing" {
                for shape in shapes do
                    let augmenter = masks 14 (1., 0.1, 0.5) shape
                    let row = Array.zeroCreate<float32> 196

                    let go n =
                        for i in 1L .. n do
                            augmenter.Draw(7UL, 1, i, 0, Span row) |> ignore

                    go 300L
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    go 300L
                    Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
            }

            test "what cannot be drawn is refused with a clear message" {
                let says part (change: MaskedCropsOf) =
                    Expect.stringContains (message (fun () -> build change)) part part

                says "patches of 5 pixels do not tile large crops of 12x12" { usual with Patch = 5 }
                says "patches of 0 pixels" { usual with Patch = 0 }
                says "a probability from 0 to 1; received 1.5" { usual with Probability = 1.5 }
                says "received 0.6 to 0.5" { usual with MinShare = 0.6 }
                says "received 0.1 to 1.1" { usual with MaxShare = 1.1 }

                says
                    "hides none of 36 patches"
                    { usual with
                        MinShare = 0.
                        MaxShare = 0.01
                    }

                says "received 0 and 0.3" { usual with Shape = Blockwise(0, 0.3) }
                says "squares of 4x4 patches do not tile" { usual with Shape = Scattered 4 }
            }

            test "as values: the crops' kinds of views and operations, masks as facts" {
                let masked = maskedCrops 2 (multiCrop large small 4)
                Expect.equal masked.Views (multiCrop large small 4).Views "views"

                Expect.equal
                    masked.Facts
                    [
                        "small crops", "4"
                        "masks", "p 0.5, 0.1–0.5 of patches of 2 px"
                        "mask", "blocks of at least 4 patches, ratio from 0.3"
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
                        "Augment.Shape = Blockwise"
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
                    [
                        "Head.Layers"
                        "PatchTemperature"
                        "Centring.momentum"
                        "ClsWeight, PatchWeight"
                    ]
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

            test "KoLeo with batches of one image is refused when the method is built" {
                use encoder =
                    ({ VitTiny 16 4 with
                        Width = 12
                        Depth = 1
                    }
                    :> IBackbone)
                        .Build
                        3

                let build (koLeo: float) =
                    let method: IMethod<MaskedCrops> =
                        { DinoV2.CpuCifar with
                            KoLeoWeight = koLeo
                        }

                    method.Build
                        {
                            Image = source
                            Classes = 2
                            Normalisation = normalisation
                            Encoder = encoder
                            Seed = 1UL
                            Device = torch.CPU
                            BatchSize = 1
                            Trained = fun _ -> failwith "builds on nothing"
                        }

                Expect.stringContains (message (fun () -> build 0.1)) "a batch holds at least 2; received 1" "message"
                use without = build 0.
                Expect.equal without.Teachers.Count 3 "without KoLeo it is built"
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
                Expect.stringContains (problems (VitTiny 16 4) 5) "patches of 5 pixels do not tile" "the masks' patch"
                Expect.equal (problems (VitTiny 16 4) 4) "" "a transformer"
            }
        ]

module Tests.Core.MultiCropTests

open System
open System.IO
open System.Threading
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Training
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Refusals

let private source = ImageShape(8, 8, 3)

let private store count =
    let pixels = Array.init (count * source.Bytes) (fun i -> byte ((i * 7 + i / 192 * 31) % 251))
    ImageStore.FromMemory("numbers", source, pixels, Array.init count (fun i -> i % 2), [| "a"; "b" |], "train")

let private pipeline side minArea maxArea =
    let ops: ViewOp[] =
        [|
            SslResearch.Core.Augment.ResizedCrop(minArea, maxArea, 0.75, 4. / 3., side, side, Interpolation.Bilinear)
            SslResearch.Core.Augment.Flip 0.5
            SslResearch.Core.Augment.Jitter(0.4, 0.4, 0.4, 0.1, 0.8)
        |]

    ViewPipeline(source, ops, ChannelNormalisation([| 0.5f; 0.5f; 0.5f |], [| 0.25f; 0.25f; 0.25f |]))

let private first, private second, private small =
    pipeline 6 0.4 1., pipeline 6 0.3 0.9, pipeline 4 0.05 0.4

let private values (t: torch.Tensor) =
    t.contiguous().data<float32>().ToArray()

/// A method whose loss is never a number.
type private Hopeless() =
    let encoder = Networks.resnet ResidualBlock.Basic [ 1 ] 4 Stem.Cifar

    do SeededInitialisation.Apply(encoder, 1UL, "encoder")

    interface ISslMethod<MultiCrop> with
        member _.Encoder = encoder
        member _.Projector = null
        member _.Trained = [| struct ("encoder", encoder) |]
        member _.Teachers = [||]
        member _.State = Collections.Generic.Dictionary<string, torch.Tensor>()
        member _.Levels _ = LossLevels(Nullable(), Nullable())

        member _.Forward(views, _) =
            let h = encoder.call views.Globals
            StepOutput(h.mean().mul(nan.ToScalar()), h.detach ())

        member _.AfterUpdate _ = ()
        member _.Dispose() = encoder.Dispose()

[<Tests>]
let tests =
    testList
        "multi-crop"
        [
            test "the batch type: counts and shapes" {
                use scope = torch.NewDisposeScope()
                let zeros (shape: int64 list) = torch.zeros (Array.ofList shape)
                let views = MultiCrop(zeros [ 6L; 3L; 6L; 6L ], zeros [ 12L; 3L; 4L; 4L ])
                Expect.equal (views.Count, views.LocalCount, views.CropCount) (3L, 4, 6) "with small crops"
                let large = MultiCrop(zeros [ 6L; 3L; 6L; 6L ], null)
                Expect.equal (large.Count, large.LocalCount, large.CropCount) (3L, 0, 2) "without"

                let says part globals locals =
                    Expect.stringContains (message (fun () -> MultiCrop(zeros globals, zeros locals))) part part

                says "expected (2N, C, H, W) with N ≥ 1, received (5, 3, 6, 6)" [ 5L; 3L; 6L; 6L ] [ 5L; 3L; 4L; 4L ]
                says "expected (L·3, 3, h, w) with L ≥ 1, received (5, 3, 4, 4)" [ 6L; 3L; 6L; 6L ] [ 5L; 3L; 4L; 4L ]
                says "received (6, 1, 4, 4)" [ 6L; 3L; 6L; 6L ] [ 6L; 1L; 4L; 4L ]
                says "received (0, 3, 4, 4)" [ 6L; 3L; 6L; 6L ] [ 0L; 3L; 4L; 4L ]
            }

            test "each crop is its pipeline's, by its own number, for any number of workers" {
                let augmenter = MultiCropAugmenter(first, second, small, 3)

                Expect.equal
                    [ for b in augmenter.Buffers -> b.Name, b.RowsPerImage ]
                    [ "globals", 2; "locals", 3 ]
                    "buffers"

                Expect.equal augmenter.Views.Count 5 "a pipeline for each view's number"
                use images = store 10

                for workers in [ 1; 3 ] do
                    use loader =
                        new Loader<MultiCrop>(
                            images,
                            augmenter,
                            LoaderOptions(4, 3UL, workers, 2, false),
                            torch.CPU,
                            0L
                        )

                    for _ in 1..4 do // the third batch of an epoch holds two images
                        let batch = loader.Next()
                        let n = batch.Indices.Length
                        let globals, locals = values batch.Views.Globals, values batch.Views.Locals
                        Expect.equal (batch.Views.Count, batch.Views.LocalCount) (int64 n, 3) "counts"
                        let indices = batch.Indices.ToArray()

                        for i in 0 .. n - 1 do
                            for number in 0..4 do
                                let p = augmenter.Views[number]
                                let mutable drawn = p.Draw(3UL, batch.Epoch, int64 indices[i], number)
                                let expected = Array.zeroCreate<float32> p.OutputFloats
                                p.Render(images.Pixels(int64 indices[i]), &drawn, Span expected)

                                let got =
                                    if number < 2 then
                                        Array.sub globals ((number * n + i) * p.OutputFloats) p.OutputFloats
                                    else
                                        Array.sub locals (((number - 2) * n + i) * p.OutputFloats) p.OutputFloats

                                Expect.equal got expected $"image {i}, crop {number}"

                            let crop v =
                                Array.sub locals ((v * n + i) * small.OutputFloats) small.OutputFloats

                            Expect.notEqual (crop 0) (crop 1) "small crops differ"
            }

            test "without small crops there is one buffer" {
                let augmenter = MultiCropAugmenter(first, second, null, 0)
                Expect.equal augmenter.Buffers.Count 1 "buffers"
                Expect.equal augmenter.Views.Count 2 "pipelines"
                use images = store 8
                use loader = new Loader<MultiCrop>(images, augmenter, LoaderOptions(4, 3UL, 1, 2, true), torch.CPU, 0L)
                let views = loader.Next().Views
                Expect.isNull views.Locals "no small crops"
                Expect.equal views.Globals.shape [| 8L; 3L; 6L; 6L |] "large ones"
            }

            test "rendering allocates nothing per image" {
                use images = store 64
                let augmenter = MultiCropAugmenter(first, second, small, 6)
                use loader = new Loader<MultiCrop>(images, augmenter, LoaderOptions(32, 3UL, 1, 2, true), torch.CPU, 0L)

                let take n =
                    for _ in 1..n do
                        loader.Next() |> ignore

                take 40
                let before = GC.GetTotalAllocatedBytes true
                take 40
                let perCrop = float (GC.GetTotalAllocatedBytes true - before) / (40. * 32. * 8.)
                Expect.isLessThan perCrop 8. "bytes a crop"
            }

            test "pipelines that do not fit are refused with a clear message" {
                let says part (f: unit -> MultiCropAugmenter) =
                    Expect.stringContains (message (fun () -> f ())) part part

                says "two global crops need equal sizes" (fun () -> MultiCropAugmenter(first, small, null, 0))

                says "2 local crops: give 1 to 254 with their operations" (fun () ->
                    MultiCropAugmenter(first, second, null, 2))

                says "0 local crops" (fun () -> MultiCropAugmenter(first, second, small, 0))
                says "-1 local crops" (fun () -> MultiCropAugmenter(first, second, small, -1))
                says "255 local crops" (fun () -> MultiCropAugmenter(first, second, small, 255))

                let other = ViewPipeline(ImageShape(9, 9, 3), [||], small.Normalisation)
                says "local crops are cut from 9x9x3" (fun () -> MultiCropAugmenter(first, second, other, 1))
            }

            test "as values: kinds of views, other operations, none small" {
                let large, tiny = [ CropTo(6, 0.4, 1.); OpForms.Flip 0.5 ], [ CropTo(4, 0.05, 0.4) ]
                let both = multiCrop large tiny 4
                Expect.equal both.Views [ "first global", large; "second global", large; "local", tiny ] "three kinds"

                let normalisation =
                    {
                        Mean = [ 0.5; 0.5; 0.5 ]
                        Std = [ 0.25; 0.25; 0.25 ]
                    }

                let buffers = both.Build(source, normalisation).Buffers
                Expect.equal [ for b in buffers -> b.RowsPerImage, Seq.last b.RowShape ] [ 2, 6L; 4, 4L ] "buffers"
                let changed = both.WithViews [ large; [ CropTo(6, 0.4, 1.) ]; tiny ]
                Expect.equal (changed.Views |> List.map snd) [ large; [ CropTo(6, 0.4, 1.) ]; tiny ] "other operations"
                Expect.throwsT<ArgumentException> (fun () -> both.WithViews [ large; large ] |> ignore) "too few"
                let two = multiCropOf large tiny [ OpForms.Flip 1. ] 0
                Expect.equal two.Views [ "first global", large; "second global", tiny ] "no small ones"

                Expect.equal
                    two
                    (multiCropOf large tiny [] 0)
                    "operations of crops that do not exist make no difference"

                let left = Augmentation.leaveOneOut both |> List.map fst
                Expect.equal left [ "crop"; "flip" ] "leave one out"
            }

            test "impossible settings of SwAV and DINO are problems with a place" {
                let places (m: IMethod<MultiCrop>) = m.Problems |> List.map _.Where
                Expect.isEmpty (places Swav.Default @ places Swav.SmallBatch @ places Swav.CpuCifar) "SwAV's presets"

                Expect.isEmpty
                    (places Dino.Default @ places Dino.TemperatureWarmsUp @ places Dino.CpuCifar)
                    "DINO's presets"

                Expect.equal
                    (places
                        { Swav.Default with
                            Iterations = 0
                            Projection = Projection.LinearProjection 0
                            QueueSize = -1
                        })
                    [ "Iterations"; "Projection.output"; "QueueSize" ]
                    "SwAV"

                Expect.equal
                    (places
                        { Dino.Default with
                            Head.Layers = 0
                            StudentTemperature = 0.
                            FreezeLast = 2.
                        })
                    [ "Head.Layers"; "StudentTemperature"; "FreezeLast" ]
                    "DINO"

                let facts (m: IMethod<MultiCrop>) = Map.ofList m.Facts

                Expect.equal
                    (Map.find "teacher temperature" (facts Dino.TemperatureWarmsUp))
                    "0.04 to 0.07 over 0.1"
                    "warm-up"

                Expect.equal (Map.find "queue" (facts Swav.Default)) "none" "no queue"
            }

            test "a run without small crops that diverges leaves its large ones behind" {
                let folder = Directory.CreateTempSubdirectory "sslr-multi-"

                try
                    use images = store 8
                    use method = new Hopeless()

                    let options =
                        TrainOptions(
                            1,
                            4,
                            SgdOptions(0.9, false, 0., false),
                            0.1,
                            0.,
                            0.,
                            Nullable(),
                            3UL,
                            1,
                            "cpu",
                            5,
                            4,
                            folder.FullName
                        )

                    let augmenter = MultiCropAugmenter(first, second, null, 0)

                    let outcome =
                        Trainer.Train<MultiCrop>(method, images, augmenter, options, null, CancellationToken.None)

                    Expect.equal outcome.End TrainEnd.Diverged "diverged"
                    use file = SafetensorsFile.Open(Path.Combine(folder.FullName, "diverged-step-00000000.safetensors"))
                    Expect.equal (List.ofSeq file.Entries.Keys) [ "Globals" ] "inputs"
                finally
                    folder.Delete true
            }
        ]

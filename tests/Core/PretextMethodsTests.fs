/// What is particular to each pretext method, beside the laws of the kit.
module Tests.Core.PretextMethodsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private cpu = torch.device "cpu"

let private small () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

let private module' (method: ISslMethod<'Views>) name =
    let struct (_, m) = method.Trained |> Seq.find (fun (struct (prefix, _)) -> prefix = name)

    m :?> torch.nn.Module<torch.Tensor, torch.Tensor>

let private forward (method: ISslMethod<'Views>) views step =
    let context = StepContext(7UL, step, 100L, 0)
    method.Forward(views, &context)

let private crossEntropy (scores: float[][]) (labels: int[]) =
    Array.map2 (fun (s: float[]) label -> log (Array.sumBy exp s) - s[label]) scores labels
    |> Array.average

let private rotation =
    testList
        "rotation"
        [
            test "the classifier says the quarter turns" {
                for hidden in [ [||]; [| 6 |] ] do
                    use scope = torch.NewDisposeScope()
                    use method = new Rotation(small (), RotationOptions(hidden, false))
                    method.Initialise 3UL
                    use images = torch.rand (12L, 3L, 8L, 8L)
                    let output = forward method (RotatedView images) 0L
                    let scores = (module' method "classifier").call(method.Encoder.call images)

                    let labels =
                        [|
                            for t in 0..3 do
                                for _ in 1..3 -> t
                        |]

                    close "loss" 1e-5 (crossEntropy (doubles scores |> Array.chunkBySize 4) labels) (scalar output.Loss)
                    Expect.equal output.Embedding.shape [| 12L; 8L |] "h of every orientation"
                    Expect.equal (method.Levels 3) (LossLevels(log 4., log 4.)) "levels"
            }

            test "an impossible classifier is refused" {
                use encoder = small ()
                refused "at least 1" (fun () -> new Rotation(encoder, RotationOptions([| 0 |], false)))
            }
        ]

let private jigsaw =
    testList
        "jigsaw"
        [
            test "permuting vectors is permuting patches" {
                for patch in [ NoProjection() :> ProjectionOptions; LinearProjection(5, false) ] do
                    use scope = torch.NewDisposeScope()
                    let count = 6
                    use method = new Jigsaw(small (), JigsawOptions(20, patch, [| 7 |], false))
                    method.Initialise 3UL
                    method.Encoder.eval () // so that each patch can be encoded alone
                    use patches = torch.rand (9L * int64 count, 3L, 6L, 6L)
                    let output = forward method (PatchGrid patches) 5L
                    let set = PermutationSet.Create(20, 9)

                    let encode (t: torch.Tensor) =
                        let h = method.Encoder.call t

                        match patch with
                        | :? LinearProjection -> (module' method "patch").call h
                        | _ -> h

                    let drawn =
                        [|
                            for i in 0 .. count - 1 do
                                let mutable random = Philox(7UL, RandomPurpose.Method, 5u, uint32 i)
                                int (random.NextBelow 20u)
                        |]

                    let scores =
                        [|
                            for i in 0 .. count - 1 do
                                let puzzle =
                                    torch.cat (
                                        [|
                                            for cell in set[drawn[i]] ->
                                                encode (patches.narrow (0, int64 (cell * count + i), 1L))
                                        |],
                                        1L
                                    )

                                doubles ((module' method "classifier").call puzzle)
                        |]

                    close "loss" 1e-5 (crossEntropy scores drawn) (scalar output.Loss)
                    Expect.equal output.Embedding.shape [| 9L * int64 count; 8L |] "h of every patch"
            }

            test "another step lays other puzzles, another seed too" {
                use scope = torch.NewDisposeScope()
                use method = new Jigsaw(small (), JigsawOptions(100, NoProjection(), [||], false))
                method.Initialise 3UL
                method.Encoder.eval ()
                use patches = torch.rand (36L, 3L, 6L, 6L)
                let views = PatchGrid patches
                let loss step = scalar (forward method views step).Loss
                Expect.equal (loss 1L) (loss 1L) "the same step"
                Expect.notEqual (loss 2L) (loss 1L) "another step"
                let context = StepContext(8UL, 1L, 100L, 0)
                Expect.notEqual (scalar (method.Forward(views, &context)).Loss) (loss 1L) "another seed"
                Expect.equal (method.Levels 4) (LossLevels(log 100., log 100.)) "levels"
            }

            test "impossible puzzles are refused" {
                use encoder = small ()
                refused "at least 2" (fun () -> new Jigsaw(encoder, JigsawOptions(1, NoProjection(), [||], false)))
                refused "count" (fun () -> new Jigsaw(encoder, JigsawOptions(400000, NoProjection(), [||], false)))
            }
        ]

let private mean, private std = [| 0.49; 0.48; 0.45 |], [| 0.25; 0.24; 0.26 |]

let private quantised share =
    QuantisedObjective(10, 5, 5., share) :> ColourObjective

let private colorization objective decoder =
    let method = new Colorization(small (), ColorizationOptions(decoder, objective, mean, std), cpu)

    method.Initialise 3UL
    method

let private views seed (n: int64) side chroma =
    use scope = torch.NewDisposeScope()

    let wave (shape: int64[]) middle scale =
        let count = shape |> Array.fold (*) 1L |> int

        (tensor shape (Array.init count (fun i -> middle + scale * sin (float seed + 1.7 * float i)))).``to``
            torch.float32

    let lightness = wave [| n; 1L; side; side |] 50. 50.
    LabView(lightness.MoveToOuterDisposeScope(), (wave [| n; 2L; chroma; chroma |] 0. 60.).MoveToOuterDisposeScope())

let private colours =
    testList
        "colorization"
        [
            test "the evaluated encoder sees the lightness of colour images, on every layer" {
                use scope = torch.NewDisposeScope()
                use encoder = new LightnessEncoder(small (), mean, std)
                SeededInitialisation.Apply(encoder.Inner, 3UL, "encoder")
                encoder.eval ()
                let rgb = Array.init (2 * 3 * 64) (fun i -> 0.5 + 0.5 * sin (1.7 * float i))
                let at n c k = rgb[(n * 3 + c) * 64 + k]

                let lightness =
                    [|
                        for n in 0..1 do
                            for k in 0..63 do
                                let struct (l, _, _) = CieLab.FromSrgb(at n 0 k, at n 1 k, at n 2 k)
                                l
                    |]

                let normalised =
                    [|
                        for n in 0..1 do
                            for c in 0..2 do
                                for k in 0..63 -> (at n c k - mean[c]) / std[c]
                    |]

                let grays =
                    [|
                        for n in 0..1 do
                            for c in 0..2 do
                                for k in 0..63 -> (lightness[n * 64 + k] / 100. - mean[c]) / std[c]
                    |]

                let single (values: float[]) (channels: int64) =
                    (tensor [| 2L; channels; 8L; 8L |] values).``to`` torch.float32

                let images, gray = single normalised 3L, single grays 3L

                let same what (a: torch.Tensor) (b: torch.Tensor) =
                    Expect.equal a.shape b.shape what
                    Expect.isTrue (torch.allclose (a, b, 1e-4, 1e-4)) what

                same "lightness" (encoder.Lightness images) (single lightness 1L)
                same "input" (encoder.Input(single lightness 1L)) gray
                same "output" (encoder.call images) (encoder.Inner.call gray)
                same "map" (encoder.Map images) (encoder.Inner.Map gray)
                Expect.equal (List.ofSeq encoder.Layers) (List.ofSeq encoder.Inner.Layers) "layers"

                for layer in encoder.Layers do
                    same layer (encoder.Layer(images, layer)) (encoder.Inner.Layer(gray, layer))

                use twin = encoder.Twin()
                Expect.equal twin.FeatureCount encoder.FeatureCount "twin"
            }

            test "the evaluated encoder is the trained one behind the conversion" {
                use method = colorization (quantised 0.5) [||]
                let wrapper = method.Encoder :?> LightnessEncoder
                let struct (prefix, inner) = method.Trained[0]
                Expect.equal prefix "encoder" "prefix"
                Expect.isTrue (obj.ReferenceEquals(inner, wrapper.Inner)) "the same network"

                Expect.equal
                    [ for name, _ in parameters inner -> name ]
                    [ for name, _ in parameters (small ()) -> name ]
                    "names of the encoder as any other method has them"
            }

            test "the decoder doubles the map as often as it has widths" {
                for widths in [ [||]; [| 5 |]; [| 6; 5 |] ] do
                    use scope = torch.NewDisposeScope()
                    use decoder = new ColourDecoder(4, widths, 3)
                    SeededInitialisation.Apply(decoder, 1UL, "decoder")
                    use map = torch.rand (2L, 4L, 3L, 5L)
                    let factor = pown 2L widths.Length
                    Expect.equal (decoder.call map).shape [| 2L; 3L * factor; 5L * factor; 3L |] $"{widths.Length}"

                refused "at least 1" (fun () -> new ColourDecoder(4, [| 0 |], 3))
            }

            test "regression: tanh of the decoder's values against scaled chroma" {
                use scope = torch.NewDisposeScope()
                use method = colorization (RegressionObjective(110., 20.)) [| 5 |]
                let batch = views 1 3L 8L 8L
                let output = forward method batch 0L
                let wrapper = method.Encoder :?> LightnessEncoder
                let map = wrapper.Inner.Map(wrapper.Input batch.Lightness)
                let predicted = doubles ((module' method "decoder").call map) // (3, 8, 8, 2)
                let chroma = doubles batch.Chroma // (3, 2, 8, 8)

                let expected =
                    [
                        for n in 0..2 do
                            for k in 0..63 do
                                for c in 0..1 do
                                    ((110. * tanh predicted[(n * 64 + k) * 2 + c] - chroma[(n * 2 + c) * 64 + k])
                                     / 20.)
                                    ** 2.
                    ]

                close "loss" 1e-4 (List.average expected) (scalar output.Loss)
                Expect.equal (method.Levels 3) (LossLevels(Nullable(), Nullable())) "no levels"
                Expect.equal method.State.Count 0 "no state"
                Expect.equal output.Embedding.shape [| 3L; 8L |] "h"
            }

            test "bins: the loss of the decoder's values, weighted by the colours of the batches so far" {
                use scope = torch.NewDisposeScope()
                use method = colorization (quantised 0.5) [| 5 |]
                use bins = new SoftBins(CieLab.GamutGrid 10, 10, 5, 5., cpu)
                let count = float bins.Count
                close "chance" 1e-12 (log count) (method.Levels 2).Chance.Value

                let encoded (batch: LabView) =
                    bins.Encode(batch.Chroma.permute(0, 2, 3, 1).reshape(-1, 2))

                let mutable seen = [ Array.create bins.Count (1. / count) ]

                for step in 0L .. 3L do
                    let batch = views (int step) 3L 8L 8L
                    let struct (indices, shares) = encoded batch
                    seen <- doubles (bins.Frequencies(indices.select (1, 0L))) :: seen

                    let prior =
                        Array.init bins.Count (fun q -> seen |> List.averageBy (fun frequencies -> frequencies[q]))

                    let output = forward method batch step
                    Array.iter2 (close "prior" 1e-6) prior (doubles method.State["prior"])
                    let wrapper = method.Encoder :?> LightnessEncoder
                    let map = wrapper.Inner.Map(wrapper.Input batch.Lightness)
                    let logits = (module' method "decoder").call(map).reshape(-1, int64 bins.Count)

                    let smooth = bins.Smooth((tensor [| int64 bins.Count |] prior).``to`` torch.float32)

                    let expected =
                        ColourCrossEntropy.Loss(logits, indices, shares, ColourCrossEntropy.Rarity(smooth, 0.5))

                    close $"loss of step {step}" 1e-4 (scalar expected) (scalar output.Loss)
            }

            test "a decoder that misses the size of the chroma is refused with what to do" {
                use method = colorization (quantised 0.5) [| 5; 5 |]
                let batch = views 1 2L 8L 4L
                refused "16x16 of the encoder's 4x4, but chroma is 4x4" (fun () -> (forward method batch 0L).Loss)
            }

            test "impossible options are refused" {
                use encoder = small ()

                let refused text objective mean =
                    refused text (fun () ->
                        new Colorization(encoder, ColorizationOptions([||], objective, mean, std), cpu))

                refused "uniform share" (quantised 0.) mean
                refused "Scale" (RegressionObjective(-1., 1.)) mean
                refused "received 9999" (QuantisedObjective(10, 9999, 5., 0.5)) mean
                refused "red, green and blue" (quantised 0.5) [| 0.5 |]
            }
        ]

[<Tests>]
let tests = testList "pretext methods" [ rotation; jigsaw; colours ]

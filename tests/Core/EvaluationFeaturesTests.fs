module Tests.Core.EvaluationFeaturesTests

open System
open System.Threading
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Features

let private float32s (t: torch.Tensor) =
    t.contiguous().data<float32>().ToArray()

let private extraction =
    let shape = ImageShape(8, 6, 3)
    let pixels = Array.init (5 * shape.Bytes) (fun i -> byte ((i * 37 + i / 11) % 256))

    let store () =
        ImageStore.FromMemory("small", shape, pixels, [| 0; 1; -1; 0; 1 |], [ "a"; "b" ], "train")

    let normalisation = ChannelNormalisation([ 0.5f; 0.4f; 0.3f ], [ 0.2f; 0.3f; 0.4f ])

    let extract encoder layer projector batch =
        use store = store ()

        FeatureExtractor.Extract(
            encoder,
            layer,
            projector,
            store,
            normalisation,
            batch,
            torch.CPU,
            CancellationToken.None
        )

    let encoder () =
        let e = new ResNet(ResNetOptions(ResidualBlock.Basic, [ 1; 1 ], 4, Stem.Cifar, 3))
        SeededInitialisation.Apply(e, 1UL)
        e

    [
        test "pixels are normalised, in (channel, row, column) order" {
            use bank = extract null Backbone.Output null 2
            Expect.equal bank.Features.shape [| 5L; int64 shape.Bytes |] "shape"
            let got = float32s bank.Features

            let expected =
                [|
                    for n in 0..4 do
                        for c in 0..2 do
                            for p in 0 .. 8 * 6 - 1 do
                                (float pixels[n * shape.Bytes + p * 3 + c] / 255. - float normalisation.Mean[c])
                                / float normalisation.Std[c]
                |]

            Array.iteri2
                (fun i (e: float) (g: float32) -> Expect.isLessThan (abs (e - float g)) 1e-5 $"value {i}")
                expected
                got

            Expect.equal (bank.Labels.data<int64>().ToArray()) [| 0L; 1L; -1L; 0L; 1L |] "labels"
        }

        test "features are those of a pass in evaluation mode, for any batch size, and modes return" {
            use e = encoder ()
            e.train ()
            let frozen = e.named_modules () |> Seq.map (fun struct (_, m) -> m) |> Seq.last
            frozen.eval ()
            use before = torch.get_rng_state ()
            use banks = extract e Backbone.Output null 2
            use after = torch.get_rng_state ()
            Expect.isTrue (torch.equal (before, after) |> fun (t: torch.Tensor) -> t.all().item<bool>()) "generator"
            Expect.isTrue e.training "the encoder trains again"
            Expect.isFalse frozen.training "what was frozen stays frozen"
            use raw = extract null Backbone.Output null 5
            e.eval ()
            use _ = torch.no_grad ()
            use expected = e.call (raw.Features.reshape (5L, 3L, 8L, 6L))

            Array.iter2
                (fun (a: float32) b -> Expect.isLessThan (abs (a - b)) 1e-5f "feature")
                (float32s expected)
                (float32s banks.Features)

            Expect.isFalse banks.Features.requires_grad "no graph"

            for struct (name, b) in e.named_buffers () do
                if name.EndsWith "num_batches_tracked" then
                    Expect.equal (b.item<int64>()) 0L name
        }

        test "every layer, and z" {
            use e = encoder ()
            use head = ProjectionHead.Create(e.FeatureCount, LinearProjection(3, true))
            SeededInitialisation.Apply(head, 1UL)
            Expect.equal (Seq.toList e.Layers) [ "stem"; "layer1"; "h" ] "layers"

            for layer, width in [ "stem", 4L; "layer1", 4L; "h", 8L ] do
                use bank = extract e layer null 5
                Expect.equal bank.Width width layer

            use z = extract e Backbone.Output head 5
            Expect.equal z.Width 3L "z"
            Expect.throwsT<ArgumentException> (fun () -> extract e "layer9" null 5 |> ignore) "no such layer"
            Expect.throwsT<ArgumentException> (fun () -> extract e "stem" head 5 |> ignore) "z of another layer"
        }

        test "leaves no tensors behind and can be stopped" {
            use e = encoder ()

            let once () =
                (extract e Backbone.Output null 2).Dispose()

            once ()
            let before = Tests.Support.LiveTensors.settled ()

            for _ in 1..3 do
                once ()

            Expect.equal torch.Tensor.TotalCount before "live tensors"
            use stopped = new CancellationTokenSource()
            stopped.Cancel()
            use store = store ()

            Expect.throwsT<OperationCanceledException>
                (fun () ->
                    FeatureExtractor.Extract(e, "h", null, store, normalisation, 2, torch.CPU, stopped.Token)
                    |> ignore)
                "stopped"
        }
    ]

[<Tests>]
let tests = testList "evaluation.features" extraction

module Tests.Core.MethodsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks

let private methods =
    let steps (method: ISslMethod<'Views>) views =
        let context = StepContext(0UL, 0L, 3L, 0)

        let once () =
            use scope = torch.NewDisposeScope()
            let output = method.Forward(views, &context)
            output.Loss.backward ()
            Expect.isFalse output.Embedding.requires_grad "the embedding is detached"
            let loss = output.Loss.item<float32>()
            let shape = output.Embedding.shape
            method.AfterUpdate(&context)
            loss, shape

        once () |> ignore // gradients are allocated here
        let before = Tests.Support.LiveTensors.settled ()
        let results = [ for _ in 1..3 -> once () ]
        Expect.equal torch.Tensor.TotalCount before "live tensors after three more steps"
        results

    let small () =
        resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

    testList
        "methods"
        [
            test "SimCLR: one pass, loss of z, levels, nothing left behind" {
                let projection = MlpProjection([ 8 ], 6, false, true, true, OutputNorm.None)
                use method = new SimClr(small (), SimClrOptions(0.5, projection))
                method.Initialise 3UL
                use images = torch.rand (8L, 3L, 8L, 8L)
                let results = steps method (TwoViews images)

                use expected =
                    let h = method.Encoder.call images
                    SslResearch.Core.Losses.NtXent.Loss(method.Projector.call h, 0.5)

                for loss, shape in results do
                    Expect.floatClose Accuracy.medium (float loss) (float (expected.item<float32>())) "loss"
                    Expect.equal shape [| 8L; 6L |] "embedding z"

                Expect.equal (method.Levels 4) (LossLevels(log 7., log 7.)) "levels"

                Expect.equal
                    [ for struct (prefix, _) in method.Trained -> prefix ]
                    [ "encoder"; "projector" ]
                    "prefixes"

                for struct (prefix, m) in method.Trained do
                    for name, p in parameters m do
                        Expect.isNotNull p.grad $"{prefix}.{name} has a gradient"
            }

            test "SimCLR without projector learns h" {
                use method = new SimClr(small (), SimClrOptions(0.5, NoProjection()))
                method.Initialise 3UL
                Expect.isNull method.Projector "no projector"
                use images = torch.rand (4L, 3L, 8L, 8L)

                Expect.equal
                    (steps method (TwoViews images) |> List.map snd |> List.distinct)
                    [ [| 4L; 8L |] ]
                    "embedding h"
            }

            test "SimCLR's collapsed level is what equal views cost" {
                use method = new SimClr(small (), SimClrOptions(0.1, NoProjection()))
                method.Initialise 3UL
                method.Encoder.eval ()
                use images = torch.ones (8L, 3L, 8L, 8L)
                let loss, _ = steps method (TwoViews images) |> List.head
                Expect.isLessThan (abs (float loss - (method.Levels 4).Collapsed.Value)) 1e-5 "ln 7"
            }

            test "supervised: cross entropy of a linear classifier, levels, nothing left behind" {
                use method = new Supervised(small (), 3)
                method.Initialise 3UL
                use images = torch.rand (4L, 3L, 8L, 8L)
                use labels = torch.tensor [| 0L; 1L; 2L; 1L |]
                let results = steps method (LabelledView(images, labels))
                let struct (_, classifier) = method.Trained[1]
                let head = classifier :?> torch.nn.Module<torch.Tensor, torch.Tensor>
                let scores = doubles (head.call (method.Encoder.call images)) |> Array.chunkBySize 3

                let expected =
                    Array.map2 (fun (s: float[]) label -> log (Array.sumBy exp s) - s[label]) scores [| 0; 1; 2; 1 |]
                    |> Array.average

                for loss, shape in results do
                    Expect.floatClose Accuracy.medium (float loss) expected "loss"
                    Expect.equal shape [| 4L; 8L |] "embedding h"

                Expect.equal (method.Levels 4) (LossLevels(log 3., log 3.)) "levels"
                Expect.isNull method.Projector "scores are no embedding"
            }

            test "a method outlives the scope it was built in, and disposing it frees all of it" {
                let build () =
                    use scope = torch.NewDisposeScope()
                    let projection = MlpProjection([ 8 ], 6, false, true, true, OutputNorm.Plain)
                    let method = new SimClr(small (), SimClrOptions(0.5, projection))
                    method.Initialise 3UL
                    method

                let method = build ()

                let owned =
                    [
                        for struct (_, m) in method.Trained do
                            for _, p in parameters m do
                                p

                            for struct (_, b) in m.named_buffers () do
                                b
                    ]

                use images = torch.rand (4L, 3L, 8L, 8L)
                steps method (TwoViews images) |> ignore
                Expect.all owned (fun t -> not t.IsInvalid) "alive"
                (method :> IDisposable).Dispose()
                Expect.all owned (fun t -> t.IsInvalid) "freed"
            }

            test "impossible options are refused" {
                use encoder = small ()

                let refused f =
                    Expect.throwsT<ArgumentException>(fun () -> f () |> ignore)

                refused (fun () -> new SimClr(encoder, SimClrOptions(0., NoProjection()))) "temperature"
                refused (fun () -> new Supervised(encoder, 1)) "classes"
            }
        ]

[<Tests>]
let tests = methods

module Tests.Core.ModelsGoldenTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Models
open SslResearch.Core.Training
open Tests.Support
open Tests.Support.Networks
open Tests.Support.ReferenceModels

let private goldenResNet (id: string) (build: unit -> ResNet) (double: bool) =
    let e = Golden.entry "models" id
    use scope = torch.NewDisposeScope()
    use model = build ()

    if double then
        model.``to`` torch.float64 |> ignore

    load e Some model
    let train = id.Contains "train"
    model.train train
    let shape, values = Golden.input "x" e
    let x = (tensor shape values).``to``(if double then torch.float64 else torch.float32)
    let features = model.call x
    let loss = features.square().mean()
    loss.backward ()
    let expected = e.GetProperty "expected"
    let tolerance = e.GetProperty "tolerance"

    let bound (name: string) =
        if double then
            Some(tolerance.GetProperty("f64").GetProperty("relative_norm").GetDouble())
        else
            tolerance.GetProperty("f32").GetProperty "relative_norm"
            |> Golden.tryProp name
            |> Option.map (fun b -> b.GetDouble())

    let check (name: string) (got: torch.Tensor) =
        bound name
        |> Option.iter (fun b -> agrees $"{id} {name}" b (expected.GetProperty name) (doubles got))

    let own = parameters model |> Map.ofList
    let buffers = Map.ofList [ for struct (n, b) in model.named_buffers () -> n, b ]

    let lastNorm =
        if model.Options.Block = ResidualBlock.Basic then
            "layer4.1.bn2"
        else
            "layer4.2.bn3"

    check "features" features
    check "grad_conv1" own["conv1.weight"].grad
    check "grad_last_bn_weight" own[lastNorm + ".weight"].grad
    let expectedLoss = expected.GetProperty("loss_mean_square").GetDouble()
    let got = loss.``to``(torch.float64).item<float>()
    Expect.isLessThanOrEqual (abs (got - expectedLoss)) ((bound "loss_mean_square").Value * expectedLoss) $"{id}: loss"

    if train then
        check "bn1_running_mean" buffers["bn1.running_mean"]
        check "bn1_running_var" buffers["bn1.running_var"]
        Expect.equal (buffers["bn1.num_batches_tracked"].item<int64>()) 1L "batches tracked"

        if
            expected.GetProperty("last_bn_running_mean").GetProperty("shape").[0].GetInt64() =
                buffers[lastNorm + ".running_mean"].numel()
        then
            check "last_bn_running_mean" buffers[lastNorm + ".running_mean"]

let private golden =
    testList
        "models.golden"
        [
            for id in [ "eval.wave"; "eval.hash"; "train.hash" ] do
                for double in [ true; false ] do
                    let precision = if double then "float64" else "float32"

                    test $"resnet18 {id} {precision}" {
                        goldenResNet $"resnet18.cifar_stem.{id}" (fun () -> resnet18 Stem.Cifar) double
                    }

                    test $"resnet50 {id} {precision}" {
                        goldenResNet $"resnet50.imagenet_stem.{id}" (fun () -> resnet50 Stem.Imagenet) double
                    }

            test "parameter counts" {
                let expected = (Golden.entry "models" "parameter_counts").GetProperty "expected"

                for name, build in [ "resnet18", resnet18; "resnet34", resnet34; "resnet50", resnet50 ] do
                    for stem, value in [ "imagenet", Stem.Imagenet; "cifar", Stem.Cifar ] do
                        use model = build value
                        use head = new SslResearch.Core.Models.Layers.LinearLayer(model.FeatureCount, 10, true)

                        let want classes =
                            expected.GetProperty($"{name}.{stem}_stem.classes{classes}").GetInt64()

                        Expect.equal (count model) (want 0) $"{name} {stem}"
                        Expect.equal (count model + count head) (want 10) $"{name} {stem} with ten classes"
            }

            test "weight decay leaves out norms and biases" {
                let expected = (Golden.entry "optim" "decay_groups.resnet18").GetProperty "expected"
                use encoder = resnet18 Stem.Imagenet
                use head = new SslResearch.Core.Models.Layers.LinearLayer(encoder.FeatureCount, 10, true)

                use flat =
                    FlatParameters.Create
                        [
                            struct ("encoder", encoder :> torch.nn.Module)
                            struct ("head", head :> torch.nn.Module)
                        ]

                let want (name: string) = expected.GetProperty(name).GetInt32()
                Expect.equal flat.Segments.Count (want "total_parameters_tensors") "parameters"

                Expect.equal
                    (flat.Segments |> Seq.filter _.IsNormOrBias |> Seq.length)
                    (want "no_decay_dino")
                    "without decay"
            }

            test "three SimCLR steps" {
                let e = Golden.entry "models" "train3.simclr"
                use scope = torch.NewDisposeScope()
                use head = ProjectionHead.Create(10, MlpProjection([ 12 ], 6, false, true, true, OutputNorm.None))
                head.``to`` torch.float64 |> ignore

                load
                    e
                    (fun name ->
                        if name.StartsWith "enc." then
                            Some(name.Substring 4)
                        else
                            None)
                    head

                let view name = Golden.input name e ||> tensor
                let x1, x2 = view "x1", view "x2"
                let own = parameters head
                let velocity = own |> List.map (fun (_, p) -> torch.zeros_like p)

                let losses =
                    [|
                        for _ in 1..3 do
                            head.zero_grad ()
                            let loss = SslResearch.Core.Losses.NtXent.Loss(head.call x1, head.call x2, 0.5)
                            loss.backward ()
                            use _ = torch.no_grad ()

                            for (_, p), v in List.zip own velocity do
                                v.mul_(0.9.ToScalar()).add_(p.grad).add_(p, 1e-4.ToScalar()) |> ignore
                                p.add_ (v, (-0.1).ToScalar()) |> ignore

                            loss.item<float>()
                    |]

                let expected = e.GetProperty "expected"
                let buffers = Map.ofList [ for struct (n, b) in head.named_buffers () -> n, b ]
                let own = Map.ofList own
                agrees "losses" 1e-7 (expected.GetProperty "losses") losses
                agrees "weight" 1e-7 (expected.GetProperty "enc0_weight_after") (doubles own["0.weight"])
                agrees "bias" 1e-7 (expected.GetProperty "enc3_bias_after") (doubles own["3.bias"])

                agrees
                    "running mean"
                    1e-7
                    (expected.GetProperty "bn_running_mean_after")
                    (doubles buffers["1.running_mean"])

                agrees
                    "running variance"
                    1e-7
                    (expected.GetProperty "bn_running_var_after")
                    (doubles buffers["1.running_var"])
            }
        ]

[<Tests>]
let tests = golden

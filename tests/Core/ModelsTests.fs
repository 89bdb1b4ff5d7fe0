module Tests.Core.ModelsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Models
open Tests.Support.Networks

let private values (m: torch.nn.Module) =
    parameters m |> List.map (fun (name, p) -> name, doubles p) |> Map.ofList

let private weight name m = values m |> Map.find name

let private initialisation =
    testList
        "initial weights"
        [
            test "a function of seed and name" {
                use a = preset ()
                use b = preset ()
                use deeper = resnet ResidualBlock.Basic [ 2; 1; 1 ] 32 Stem.CifarStride2
                SeededInitialisation.Apply(a, 5UL, "encoder")
                SeededInitialisation.Apply(deeper, 5UL, "encoder")
                torch.rand 3L |> ignore
                SeededInitialisation.Apply(b, 5UL, "encoder")
                Expect.equal (values a) (values b) "the same again, whatever torch's generator did"
                let shared = values deeper |> Map.filter (fun name _ -> (values a).ContainsKey name)
                Expect.equal shared (values a) "other layers make no difference"
                SeededInitialisation.Apply(b, 6UL, "encoder")
                Expect.notEqual (weight "conv1.weight" b) (weight "conv1.weight" a) "another seed"
                SeededInitialisation.Apply(b, 5UL, "teacher")
                Expect.notEqual (weight "conv1.weight" b) (weight "conv1.weight" a) "another prefix"

                Expect.notEqual
                    (weight "layer1.0.conv1.weight" a)
                    (weight "layer1.0.conv2.weight" a)
                    "layers of one shape do not share numbers"
            }

            test "before it, a forgotten initialisation shows" {
                use a = preset ()
                Expect.all (weight "conv1.weight" a) Double.IsNaN "NaN until then"
            }

            test "distributions" {
                use model = resnet18 Stem.Cifar
                SeededInitialisation.Apply(model, 0UL)
                let own name = weight name model

                let deviation (x: float[]) =
                    sqrt (Array.averageBy (fun v -> v * v) x)

                for name, fanOut in
                    [
                        "layer1.0.conv1.weight", 64. * 9.
                        "layer2.0.downsample.0.weight", 128.
                        "layer4.1.conv2.weight", 512. * 9.
                    ] do
                    let want = sqrt (2. / fanOut)
                    let x = own name
                    let error = 4. / sqrt (float x.Length)
                    Expect.isLessThan (abs (deviation x / want - 1.)) error $"deviation of {name}"
                    Expect.isLessThan (abs (Array.average x) / want) error $"mean of {name}"
                    let fourth = Array.averageBy (fun v -> (v / want) ** 4.) x
                    Expect.isLessThan (abs (fourth - 3.)) (5. * error * sqrt 6.) $"{name} is normal"

                Expect.all (own "bn1.weight") ((=) 1.) "norm weight"
                Expect.all (own "bn1.bias") ((=) 0.) "norm bias"
                use head = ProjectionHead.Create(64, MlpProjection([ 256 ], 128, true, false, true, OutputNorm.None))
                SeededInitialisation.Apply(head, 0UL)

                for name, bound in
                    [
                        "0.weight", 1. / 8.
                        "0.bias", 1. / 8.
                        "2.weight", 1. / 16.
                        "2.bias", 1. / 16.
                    ] do
                    let x = weight name head
                    Expect.all x (fun v -> abs v <= bound) $"bound of {name}"
                    Expect.isGreaterThan (Array.max x) (0.95 * bound) $"{name} reaches up"
                    Expect.isLessThan (Array.min x) (-0.95 * bound) $"{name} reaches down"
            }

            test "torch's own layers follow PyTorch's defaults" {
                use net =
                    torch.nn.Sequential(
                        torch.nn.Linear(100L, 30L),
                        torch.nn.BatchNorm1d 30L,
                        torch.nn.Linear(30L, 4L, hasBias = false)
                    )

                SeededInitialisation.Apply(net, 1UL)
                let own name = weight name net
                Expect.all (own "0.weight") (fun v -> abs v <= 0.1) "weight"
                Expect.isGreaterThan (Array.max (own "0.weight")) 0.095 "weight fills its range"
                Expect.all (own "0.bias") (fun v -> abs v <= 0.1) "bias"
                Expect.isGreaterThan (own "0.bias" |> Array.map abs |> Array.max) 0.05 "bias is drawn"
                Expect.all (own "1.weight") ((=) 1.) "norm weight"
                Expect.all (own "1.bias") ((=) 0.) "norm bias"
            }
        ]

let private shapes =
    testList
        "shapes"
        [
            test "strides, widths and layers" {
                use _ = torch.no_grad ()

                for stem, block, image in
                    [
                        Stem.Cifar, ResidualBlock.Basic, 16L
                        Stem.CifarStride2, ResidualBlock.Basic, 24L
                        Stem.Imagenet, ResidualBlock.Bottleneck, 33L
                    ] do
                    use scope = torch.NewDisposeScope()
                    use model = resnet block [ 1; 2; 1 ] 8 stem
                    SeededInitialisation.Apply(model, 0UL)
                    let expansion = if block = ResidualBlock.Basic then 1 else 4
                    Expect.equal model.FeatureCount (32 * expansion) "features"
                    let x = torch.rand (2L, 3L, image, image)
                    Expect.equal (model.call x).shape [| 2L; int64 model.FeatureCount |] "h"
                    let widths = [ for l in model.Layers -> l, model.Layer(x, l).shape[1] ]

                    Expect.equal
                        widths
                        [
                            "stem", 8L
                            "layer1", int64 (8 * expansion)
                            "layer2", int64 (16 * expansion)
                            "h", int64 (32 * expansion)
                        ]
                        "layers"
            }

            test "the preset has 0.31 million parameters" {
                use model = preset ()
                Expect.equal (count model) 307360L "encoder"
                use head = ProjectionHead.Create(128, MlpProjection([ 256 ], 128, false, true, true, OutputNorm.None))
                Expect.equal (count head) (int64 (128 * 256 + 2 * 256 + 256 * 128 + 128)) "projector"
            }

            test "projectors are values" {
                let names options =
                    use head = ProjectionHead.Create(8, options)
                    SeededInitialisation.Apply(head, 0UL)
                    use x = torch.rand (5L, 8L)
                    use z = head.call x
                    Expect.equal z.shape [| 5L; int64 head.FeatureCount |] "z"
                    parameters head |> List.map fst

                Expect.isNull (ProjectionHead.Create(8, NoProjection())) "none"
                Expect.equal (names (LinearProjection(4, false))) [ "0.weight" ] "linear"

                Expect.equal
                    (names (MlpProjection([ 16 ], 4, true, false, true, OutputNorm.None)))
                    [ "0.weight"; "0.bias"; "2.weight"; "2.bias" ]
                    "Linear, ReLU, Linear"

                Expect.equal
                    (names (MlpProjection([ 16; 16 ], 4, false, true, false, OutputNorm.Plain)))
                    [
                        "0.weight"
                        "1.weight"
                        "1.bias"
                        "3.weight"
                        "4.weight"
                        "4.bias"
                        "6.weight"
                    ]
                    "three layers, last normalisation without scale"
            }

            test "impossible networks are refused" {
                let refused f =
                    Expect.throwsT<ArgumentException>(fun () -> f () |> ignore)

                refused (fun () -> resnet ResidualBlock.Basic [] 8 Stem.Cifar) "no stage"
                refused (fun () -> resnet ResidualBlock.Basic [ 0 ] 8 Stem.Cifar) "no block"
                refused (fun () -> resnet ResidualBlock.Basic [ 1 ] 0 Stem.Cifar) "no width"
                refused (fun () -> ProjectionHead.Create(8, LinearProjection(0, true))) "no outputs"
                use model = preset ()
                use grey = torch.zeros (1L, 1L, 8L, 8L)
                refused (fun () -> model.call grey) "channels"
            }
        ]

[<Tests>]
let tests = testList "models" [ initialisation; shapes ]

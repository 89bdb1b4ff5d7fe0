module Tests.Core.ModelsTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support

let private resnet block (blocks: int list) width stem =
    new ResNet(ResNetOptions(block, blocks, width, stem, 3))

let private resnet18 stem =
    resnet ResidualBlock.Basic [ 2; 2; 2; 2 ] 64 stem

let private resnet34 stem =
    resnet ResidualBlock.Basic [ 3; 4; 6; 3 ] 64 stem

let private resnet50 stem =
    resnet ResidualBlock.Bottleneck [ 3; 4; 6; 3 ] 64 stem

let private preset () =
    resnet ResidualBlock.Basic [ 1; 1; 1 ] 32 Stem.CifarStride2

let private parameters (m: torch.nn.Module) =
    [ for struct (name, p) in m.named_parameters () -> name, (p :> torch.Tensor) ]

let private count (m: torch.nn.Module) =
    parameters m |> List.sumBy (fun (_, p) -> p.numel ())

let private tensor (shape: int64[]) (values: float[]) =
    torch.tensor(values, dtype = torch.float64).reshape shape

let private doubles (t: torch.Tensor) =
    use flat = t.detach().cpu().``to``(torch.float64).contiguous().flatten()
    flat.data<float>().ToArray()

/// The two closed-form weight fills of models.json, for parameter number k.
let private fill kind k (shape: int64[]) (mark: string) =
    let n = shape |> Array.fold (*) 1L

    match kind with
    | "wave" -> Array.init (int n) (fun i -> 0.05 * sin (0.1 * float i + float k) + (if mark = "norm" then 1. else 0.))
    | _ ->
        let fanIn = float (n / shape[0])

        Array.init (int n) (fun i ->
            let i = int64 i

            let v =
                2. * float ((i * i % 65521L * 7L + i * 12345L + int64 k * 4099L + 17L) % 65521L)
                / 65521.
                - 1.

            if mark = "norm" then 1. + 0.1 * v
            elif shape.Length >= 2 then v * sqrt (6. / fanIn)
            else 0.1 * v)

let private load (e: JsonElement) (rename: string -> string option) (m: torch.nn.Module) =
    use _ = torch.no_grad ()
    let own = parameters m |> Map.ofList

    for p in e.GetProperty("parameters").EnumerateArray() do
        let name = p[1].GetString()
        let shape = [| for d in p[2].EnumerateArray() -> d.GetInt64() |]

        match rename name with
        | Some name ->
            let target = own[name]
            Expect.equal target.shape shape $"shape of {name}"

            use value =
                tensor shape (fill (e.GetProperty("fill").GetString()) (p[0].GetInt32()) shape (p[3].GetString()))

            target.copy_ value |> ignore
        | None -> ()

/// Compares a tensor with a summary of models.json within a bound on the norm of the difference.
let private agrees (what: string) (bound: float) (summary: JsonElement) (got: float[]) =
    let number (name: string) = summary.GetProperty(name).GetDouble()
    let n = float got.Length
    let norm = sqrt (number "sumsq")
    let rms = norm / sqrt n
    let first = Golden.floats (summary.GetProperty "first")

    let near name tolerance expected value =
        Expect.isLessThanOrEqual (abs (value - expected)) tolerance $"{what}: {name}, expected {expected}, got {value}"

    near "norm" (bound * norm) norm (got |> Array.sumBy (fun x -> x * x) |> sqrt)
    near "mean" (10. * bound * rms) (number "mean") (Array.average got)

    first
    |> Array.iteri (fun i x -> near $"element {i}" (10. * bound * rms) x got[i])

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
        "golden resnet"
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
        let before = torch.Tensor.TotalCount
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
let tests = testList "models" [ golden; initialisation; shapes; methods ]

/// Three training steps of BYOL against reference values: student, predictor, teacher, momentum, batch statistics.
module Tests.Core.ByolStepsTests

open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Networks

/// Linear, batch norm, ReLU, linear on flattened images, as an encoder.
type private FlatBackbone() as this =
    inherit Backbone("FlatBackbone")

    let net = ProjectionHead.Create(10, MlpProjection([ 12 ], 6, false, true, true, OutputNorm.None))

    do this.register_module ("net", net)

    override _.FeatureCount = 6
    override _.Layers = [| Backbone.Output |]
    override b.Layer(images, _) = b.call images
    override _.Map _ = failwith "no map"
    override _.Twin() = new FlatBackbone()
    override _.forward images = net.call (images.flatten 1L)

/// The weights of parameter number k, as models.json states the fill 'hash'.
let private fill k (shape: int64[]) isNorm =
    let n = Array.reduce (*) shape
    let fanIn = float (n / shape[0])

    Array.init (int n) (fun i ->
        let i = int64 i

        let v =
            2. * float ((i * i % 65521L * 7L + i * 12345L + int64 k * 4099L + 17L) % 65521L)
            / 65521.
            - 1.

        if isNorm then 1. + 0.1 * v
        elif shape.Length > 1 then v * sqrt (6. / fanIn)
        else 0.1 * v)

let private agrees what (allowed: float) (summary: JsonElement) (got: float[]) =
    let number (name: string) = summary.GetProperty(name).GetDouble()
    let norm = sqrt (number "sumsq")
    let rms = norm / sqrt (float got.Length)

    let near part tolerance expected value =
        Expect.isLessThanOrEqual (abs (value - expected)) tolerance $"{what}: {part}, expected {expected}, got {value}"

    near "norm" (allowed * norm) norm (got |> Array.sumBy (fun x -> x * x) |> sqrt)
    near "mean" (10. * allowed * rms) (number "mean") (Array.average got)

    Golden.floats (summary.GetProperty "first")
    |> Array.iteri (fun i x -> near $"element {i}" (10. * allowed * rms) x got[i])

let private steps double =
    let e = Golden.entry "models" "train3.byol"

    let number (name: string) =
        e.GetProperty("params").GetProperty(name).GetDouble()

    let dtype = if double then torch.float64 else torch.float32
    use scope = torch.NewDisposeScope()

    use method =
        new Byol(new FlatBackbone(), ByolOptions(NoProjection(), 12, number "ema", 1., ByolForm.SquaresSummed))

    let modules =
        [
            for struct (prefix, m) in method.Trained -> prefix, m
            for t in method.Teachers -> t.Name, t.Teacher
        ]

    for _, m in modules do
        m.``to`` dtype |> ignore

    let own =
        Map.ofList
            [
                for prefix, m in modules do
                    for name, p in parameters m -> $"{prefix}.{name}", p
            ]

    using (torch.no_grad ()) (fun _ ->
        for p in e.GetProperty("parameters").EnumerateArray() do
            let shape = [| for d in p[2].EnumerateArray() -> d.GetInt64() |]
            let name = p[1].GetString()
            use value = tensor shape (fill (p[0].GetInt32()) shape (p[3].GetString() = "norm"))

            let targets =
                if name.StartsWith "enc." then
                    [ "encoder.net"; "teacher.encoder.net" ]
                    |> List.map (fun t -> t + name.Substring 3)
                else
                    [ "predictor" + name.Substring 4 ]

            for target in targets do
                // Ours has no bias before a batch norm, which takes out its mean; the reference's makes no difference.
                if target <> "predictor.0.bias" then
                    own[target].copy_ value |> ignore)

    let view name = Golden.input name e ||> tensor

    let views = TwoViews(torch.cat([| view "x1"; view "x2" |], 0L).reshape(16L, 10L, 1L, 1L).``to``(dtype))

    let trained =
        [
            for struct (_, m) in method.Trained do
                yield! parameters m
        ]

    let velocity = trained |> List.map (fun (_, p) -> torch.zeros_like p)

    let losses =
        [|
            for step in 0L .. 2L do
                for struct (_, m) in method.Trained do
                    m.zero_grad ()

                let context = StepContext(0UL, step, 3L, 0)
                let output = method.Forward(views, &context)
                output.Loss.backward ()
                use _ = torch.no_grad ()

                for (_, p), v in List.zip trained velocity do
                    v.mul_(number("mo").ToScalar()).add_(p.grad).add_(p, number("wd").ToScalar())
                    |> ignore

                    p.add_ (v, (-(number "lr")).ToScalar()) |> ignore

                for t in method.Teachers do
                    let m = t.Momentum.Invoke context

                    for (_, s), (_, target) in List.zip (parameters t.Student) (parameters t.Teacher) do
                        target.mul_(m.ToScalar()).add_(s, (1. - m).ToScalar()) |> ignore

                (doubles output.Loss)[0]
        |]

    let expected = e.GetProperty "expected"
    let tolerance = e.GetProperty "tolerance"

    let check (name: string) got =
        let allowed =
            if double then
                tolerance.GetProperty("f64").GetProperty("relative_norm").GetDouble()
            else
                tolerance.GetProperty("f32").GetProperty("relative_norm").GetProperty(name).GetDouble()

        agrees name allowed (expected.GetProperty name) got

    check "losses" losses
    check "enc0_weight_after" (doubles own["encoder.net.0.weight"])
    check "pred3_weight_after" (doubles own["predictor.3.weight"])
    check "target0_weight_after" (doubles own["teacher.encoder.net.0.weight"])

    let buffers = Map.ofList [ for struct (n, b) in method.Teachers[0].Teacher.named_buffers() -> n, b ]

    check "target_bn_running_mean" (doubles buffers["net.1.running_mean"])

[<Tests>]
let tests =
    testList
        "byol steps"
        [
            test "golden train3.byol float64" { steps true }
            test "golden train3.byol float32" { steps false }
        ]

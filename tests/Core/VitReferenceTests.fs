/// Vision transformers with the weights of others give their values.
module Tests.Core.VitReferenceTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Models
open SslResearch.Core.Training
open Tests.Support
open Tests.Support.Networks
open Tests.Support.ReferenceModels
open Tests.Support.VisionTransformers

let private golden double =
    use scope = torch.NewDisposeScope()
    let e = Golden.entry "models" "dino_vit"

    use plain =
        build
            { VitTiny 32 4 with
                Width = 48
                Depth = 2
            }

    use model = new VisionTransformer(resizing PositionResizing.DinoScale plain.Options)

    if double then
        model.``to`` torch.float64 |> ignore

    load e Some model
    let expected = e.GetProperty "expected"
    let tolerance = e.GetProperty "tolerance"
    Expect.equal (count model) (expected.GetProperty("parameter_count").GetInt64()) "parameters"

    let bound (name: string) =
        if double then
            tolerance.GetProperty("f64").GetProperty("relative_norm").GetDouble()
        else
            tolerance.GetProperty("f32").GetProperty("relative_norm").GetProperty(name).GetDouble()

    let check (name: string) (got: torch.Tensor) =
        agrees name (bound name) (expected.GetProperty name) (doubles got)

    let x name =
        let shape, values = Golden.input name e
        (tensor shape values).``to``(if double then torch.float64 else torch.float32)

    let cls = model.call (x "x")
    check "cls" cls
    cls.square().mean().backward()
    let own = parameters model |> Map.ofList
    check "grad_pos_embed" own["pos_embed"].grad
    check "grad_patch_proj" own["patch_embed.proj.weight"].grad
    let attention = model.Attention(x "x")
    let row = attention.select(0, 0).select(1, 0)
    check "last_attention_cls_row_image0" row

    let all =
        expected.GetProperty("last_attention_cls_row_image0").GetProperty "all"
        |> Golden.floats

    Array.iter2
        (fun want got -> Expect.isLessThan (abs (want - got)) (if double then 1e-10 else 1e-7) "attention")
        all
        (doubles row)

    check "cls_interpolated_pos" (model.call (x "xs"))

    check "last2_layers_normed_first" (model.Norm(model.Blocks(model.Sequence(model.Embed(x "x")), Nullable 1)))

    check "last2_layers_normed_second" (model.Tokens(x "x"))

[<Tests>]
let tests =
    testList
        "vit, reference values"
        [
            test "DINO's transformer, float64" { golden true }
            test "DINO's transformer, float32" { golden false }

            test "MAE's encoder on a quarter of the patches" {
                use scope = torch.NewDisposeScope()
                let e = Golden.entry "models" "mae"

                use model =
                    build
                        { VitTiny 16 4 with
                            Width = 32
                            Depth = 2
                            Heads = 4
                            Positions = VitPositions.SinCos
                        }

                model.``to`` torch.float64 |> ignore
                let own = parameters model |> List.map fst |> Set.ofList
                load e (fun name -> if own.Contains name then Some name else None) model
                let expected = e.GetProperty "expected"
                let shape, values = Golden.input "x" e
                let x = tensor shape values
                let table = model.Positions x
                Expect.equal table.dtype torch.float64 "the table follows the network"

                for token in 1..2 do
                    // The table is made in float32.
                    agrees
                        $"token {token}"
                        1e-6
                        (expected.GetProperty $"pos_embed_token{token}")
                        (doubles (table.select (1, int64 (token - 1))))

                let shape, noise = Golden.input "noise" e
                let order = (tensor shape noise).argsort(1, false)
                let kept = order.narrow(1, 0, 4).unsqueeze(-1).expand(-1L, -1L, 32L)
                let latent = model.Norm(model.Blocks(model.Sequence((model.Embed x).gather(1, kept))))
                agrees "latent" 1e-6 (expected.GetProperty "latent") (doubles latent)
            }

            test "parameter counts" {
                let expected = (Golden.entry "models" "parameter_counts").GetProperty "expected"

                for name, vit in [ "tiny", VitTiny; "small", VitSmall; "base", VitBase ] do
                    for size, patch in [ 224, 16; 32, 4 ] do
                        use model = build (vit size patch)
                        let want = expected.GetProperty($"dino.vit_{name}.patch{patch}.img{size}").GetInt64()
                        Expect.equal (count model) want $"{name} {patch} {size}"
            }

            test "weight decay leaves out what DINO leaves out" {
                let expected = (Golden.entry "optim" "decay_groups.dino_vit_depth1").GetProperty "expected"

                use model =
                    build
                        { VitTiny 32 4 with
                            Width = 48
                            Depth = 1
                        }

                use flat = FlatParameters.Create [ struct ("encoder", model :> torch.nn.Module) ]

                Expect.equal
                    flat.Segments.Count
                    (expected.GetProperty("total_parameters_tensors").GetInt32())
                    "parameters"

                let spared =
                    [
                        for s in flat.Segments do
                            if s.IsNormOrBias then
                                s.Name.Substring("encoder.".Length)
                    ]

                let want =
                    [
                        for n in expected.GetProperty("no_decay_dino").EnumerateArray() -> n.GetString()
                    ]

                Expect.equal
                    (List.sort spared)
                    (List.sort want)
                    "biases and normalisations; CLS and positions are decayed"
            }
        ]

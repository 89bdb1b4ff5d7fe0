/// Small vision transformers, and images for them.
module Tests.Support.VisionTransformers

open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Models
open Tests.Support.Networks

let build (v: Vit) =
    (v :> IBackbone).Build 3 :?> VisionTransformer

/// Small enough for loops and finite differences.
let tiny =
    { VitTiny 8 2 with
        Width = 12
        Depth = 2
        Heads = 3
        MlpRatio = 2.
    }

let initialised (v: Vit) =
    let model = build v
    SeededInitialisation.Apply(model, 3UL)
    model

/// Larger weights than training starts with, so that no branch hides behind the residual path; float64.
let lively (m: torch.nn.Module) =
    use _ = torch.no_grad ()
    m.``to`` torch.float64 |> ignore

    for name, p in parameters m do
        use scale = (if name.EndsWith "norm1.weight" then 1. else 15.).ToScalar()

        if p.dim () > 1L then
            p.mul_ scale |> ignore
        else
            use wave = torch.arange(p.numel (), dtype = torch.float64).mul(0.7.ToScalar()).sin_()
            p.add_ (wave, (0.1).ToScalar()) |> ignore

let images (n: int) (side: int) =
    torch
        .arange(int64 (n * 3 * side * side), dtype = torch.float64)
        .mul(0.37.ToScalar())
        .sin_()
        .view(int64 n, 3L, int64 side, int64 side)

/// The same transformer with positions interpolated in another way.
let resizing (way: PositionResizing) (o: VitOptions) =
    VitOptions(
        o.ImageSize,
        o.Patch,
        o.Width,
        o.Depth,
        o.Heads,
        o.MlpRatio,
        o.Registers,
        o.Positions,
        o.Pool,
        o.LayerScale,
        o.DropPath,
        o.QkvBias,
        o.NormEpsilon,
        o.Channels,
        Resizing = way
    )

let distance (a: torch.Tensor) (b: torch.Tensor) =
    Expect.equal a.shape b.shape "shape"
    use d = (a - b).abs().max()
    d.``to``(torch.float64).item<float>()

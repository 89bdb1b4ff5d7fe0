/// Networks and their parameters for tests.
module Tests.Support.Networks

open TorchSharp
open SslResearch.Core.Models

let resnet block (blocks: int list) width stem =
    new ResNet(ResNetOptions(block, blocks, width, stem, 3))

let resnet18 stem =
    resnet ResidualBlock.Basic [ 2; 2; 2; 2 ] 64 stem

let resnet34 stem =
    resnet ResidualBlock.Basic [ 3; 4; 6; 3 ] 64 stem

let resnet50 stem =
    resnet ResidualBlock.Bottleneck [ 3; 4; 6; 3 ] 64 stem

let preset () =
    resnet ResidualBlock.Basic [ 1; 1; 1 ] 32 Stem.CifarStride2

let parameters (m: torch.nn.Module) =
    [ for struct (name, p) in m.named_parameters () -> name, (p :> torch.Tensor) ]

let count (m: torch.nn.Module) =
    parameters m |> List.sumBy (fun (_, p) -> p.numel ())

let tensor (shape: int64[]) (values: float[]) =
    torch.tensor(values, dtype = torch.float64).reshape shape

let doubles (t: torch.Tensor) =
    use flat = t.detach().cpu().``to``(torch.float64).contiguous().flatten()
    flat.data<float>().ToArray()

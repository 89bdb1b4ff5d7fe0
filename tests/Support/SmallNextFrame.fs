/// Small next-frame methods, and clips for them.
module Tests.Support.SmallNextFrame

open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open Tests.Support.Networks
open Tests.Support.Numbers

let timeModels: (string * TimeModelOptions) list =
    [
        "LSTM", LstmOptions(6, 1)
        "LSTM, two layers", LstmOptions(5, 2)
        "transformer", CausalTransformerOptions(8, 2, 2, 2.)
    ]

let small () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.CifarStride2

let outputs: (string * FrameOutput) list =
    [ "whole", WholeFrame(); "residual", FrameResidual(); "motion", FrameMotion 2 ]

let make (time: TimeModelOptions) output error every =
    let method = new NextFrame(small (), NextFrameOptions(time, [| 6; 4 |], output, error, every), 3)

    method.Initialise 3UL
    method

/// Clips of so many frames of 8 pixels.
let films seed (n: int) (length: int) =
    (tensor [| int64 n; int64 length; 3L; 8L; 8L |] (arbitrary seed (n * length * 192))).``to`` torch.float32

let modes (method: NextFrame) =
    [
        for struct (_, m) in method.Trained do
            m.training

            for struct (_, inner) in m.named_modules () do
                inner.training
    ]

/// The largest size of a value at each step of (M, T, …).
let largest (t: torch.Tensor) =
    let steps = int t.shape[1]
    let all = doubles (t.transpose (0, 1)) |> Array.map abs
    all |> Array.chunkBySize (all.Length / steps) |> Array.map Array.max

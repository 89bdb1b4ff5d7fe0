/// Errors of predicted frames beside those of predictions that need no learning.
module Tests.Core.FramePredictionTests

open System.Threading
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Methods
open SslResearch.Core.Models
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals
open Tests.Support.SmallNextFrame

let private cpu = torch.device "cpu"

let private normalisation = ChannelNormalisation([| 0.4f; 0.5f; 0.6f |], [| 0.2f; 0.25f; 0.3f |])

/// A store of clips of frames of side s whose value is given by clip, frame, pixel and channel.
let private store clips frames side (colour: int -> int -> int -> int -> byte) =
    let pixels =
        [|
            for i in 0 .. clips - 1 do
                for t in 0 .. frames - 1 do
                    for p in 0 .. side * side - 1 do
                        for c in 0..2 -> colour i t p c
        |]

    ImageStore.FromMemory("films", FrameStrip.Of(frames, side, 3), pixels, Array.create clips (-1), [||], "test")

let private measure store (next: torch.Tensor -> torch.Tensor) known batch =
    FramePrediction.Measure(store, normalisation, next, known, batch, cpu, CancellationToken.None)
    |> List.ofSeq

let private copy (frames: torch.Tensor) =
    frames.select(1, frames.shape[1] - 1L).clone()

[<Tests>]
let tests =
    testList
        "frame prediction"
        [
            test "copy and extrapolation of given frames" {
                use scope = torch.NewDisposeScope()
                let values = [| 0.5; 0.2; 0.1; 0.9; 0.3; 0.6; 0.3; 0.9 |] // pixels a and b of two clips' frames 0 and 1
                let frames = (tensor [| 2L; 2L; 1L; 1L; 2L |] values).``to`` torch.float32

                Array.iter2 (close "copy" 1e-6) [| 0.1; 0.9; 0.3; 0.9 |] (doubles (FramePrediction.Copied frames))

                // 2·0.1 − 0.5 < 0 and 2·0.9 − 0.2 > 1 are cut.
                Array.iter2
                    (close "extrapolation" 1e-6)
                    [| 0.; 1.; 0.3; 1. |]
                    (doubles (FramePrediction.Extrapolated frames))

                use one = torch.zeros [| 1L; 1L; 3L; 4L; 4L |]
                Expect.equal (FramePrediction.Copied one).shape [| 1L; 3L; 4L; 4L |] "one frame can be copied"
                Expect.stringContains (message (fun () -> FramePrediction.Extrapolated one)) "T ≥ 2" "but not continued"
            }

            test "closed forms: a film that brightens evenly" {
                // Frame t has the value 10·(t + 1) + clip: copying is off by 10/255, a straight line by nothing.
                use films = store 3 5 4 (fun i t _ _ -> byte (10 * (t + 1) + i))
                let off = (10. / 255.) ** 2.

                for batch in [ 1; 2; 8 ] do
                    let all = measure films copy 2 batch
                    Expect.equal (all |> List.map _.Frame) [ 2; 3; 4 ] "frames"

                    for e in all do
                        close "the model, which copies" 1e-6 off e.Predicted
                        close "copy" 1e-6 off e.Copied
                        close "straight line" 1e-9 0. e.Extrapolated

                Expect.equal (measure films copy 4 2 |> List.map _.Frame) [ 4 ] "the last alone"
            }

            test "closed forms: a pixel that jumps" {
                // Pixel t of frame t is lit: a copy is wrong by 1 at the one that goes out and at the new one. So is a straight line, for what
                // it says beyond white and black is cut.
                use films = store 2 4 4 (fun _ t p _ -> if p = t then 255uy else 0uy)

                for e in measure films copy 2 2 do
                    close "copy" 1e-6 (2. / 16.) e.Copied
                    close "line" 1e-6 (2. / 16.) e.Extrapolated

                // In the middle of the range nothing is cut.
                use gray = store 2 4 4 (fun _ t p _ -> if p = t then 128uy else 64uy)
                let step = (64. / 255.) ** 2.

                for e in measure gray copy 2 2 do
                    close "copy" 1e-5 (2. / 16. * step) e.Copied

                    // Of the line: the lit pixel is told 192 where it is 64, the one that went out 0 where it is 64, the new one 64 where it is 128.
                    close "line" 1e-5 ((4. + 1. + 1.) / 16. * step) e.Extrapolated
            }

            test "the model sees nothing but earlier frames, normalised, and its prediction is taken back and cut" {
                use films = store 2 5 4 (fun i t p c -> byte ((i * 50 + t * 20 + p * 3 + c) % 256))
                let calls = ResizeArray()

                let next (frames: torch.Tensor) =
                    calls.Add(frames.shape[1], doubles frames)
                    torch.full ([| 2L; 3L; 4L; 4L |], (100.).ToScalar()) // far beyond white

                let errors = measure films next 3 2
                Expect.equal (calls |> Seq.map fst |> List.ofSeq) [ 3L; 4L ] "known frames"

                let pixel i t p c =
                    float ((i * 50 + t * 20 + p * 3 + c) % 256) / 255.

                let expected =
                    [|
                        for i in 0..1 do
                            for t in 0..2 do
                                for c in 0..2 do
                                    for p in 0..15 do
                                        (pixel i t p c - [| 0.4; 0.5; 0.6 |][c]) / [| 0.2; 0.25; 0.3 |][c]
                    |]

                Array.iter2 (close "normalised" 1e-5) expected (snd calls[0])

                let white =
                    [
                        for i in 0..1 do
                            for p in 0..15 do
                                for c in 0..2 -> (1. - pixel i 3 p c) ** 2.
                    ]

                close "white" 1e-5 (List.average white) errors.Head.Predicted
            }

            test "a next-frame method is measured by its own predictions" {
                use films = ShapesClips.Render(ShapesClipsOptions(12, 8, 4, 3UL, "test"))
                use method = make (LstmOptions(6, 1)) (FrameResidual()) FrameError.Squared true
                let before = modes method
                let errors = measure films method.Next 3 5
                Expect.equal (modes method) before "modes"
                let e = errors.Head
                Expect.isTrue (e.Predicted > 0. && e.Copied > 0. && e.Extrapolated > 0.) $"{e}"

                use _ = torch.no_grad ()
                let struct (_, decoder) = method.Trained |> Seq.find (fun (struct (prefix, _)) -> prefix = "decoder")

                for _, p in parameters decoder do
                    p.zero_ () |> ignore

                let copied = (measure films method.Next 3 5).Head
                close "without weights it copies" 1e-5 copied.Copied copied.Predicted
            }

            test "nothing is left behind, and what cannot be measured is refused" {
                use films = store 3 4 4 (fun i t p c -> byte (i + t + p + c))
                measure films copy 2 2 |> ignore
                let live = Tests.Support.LiveTensors.settled ()
                measure films copy 2 2 |> ignore
                Expect.equal torch.Tensor.TotalCount live "live tensors"
                Expect.stringContains (message (fun () -> measure films copy 1 2)) "2 to 3 can be known" "one frame"
                Expect.stringContains (message (fun () -> measure films copy 4 2)) "received 4" "all frames"

                Expect.stringContains
                    (message (fun () -> measure films (fun f -> f.clone ()) 2 2))
                    "the model gave (2, 2, 3, 4, 4)"
                    "output"

                use stills = ShapesDataset.Render(ShapesOptions(2, 8, 0UL, "test"))
                Expect.stringContains (message (fun () -> measure stills copy 2 2)) "no clips" "still images"

                let gray = ChannelNormalisation([| 0.5f |], [| 0.25f |])

                Expect.stringContains
                    (message (fun () -> FramePrediction.Measure(films, gray, copy, 2, 2, cpu, CancellationToken.None)))
                    "3 channels"
                    "normalisation"
            }
        ]

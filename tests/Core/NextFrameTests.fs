/// Next-frame prediction: the loss, causality, predictions and pictures.
module Tests.Core.NextFrameTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals
open Tests.Support.SmallNextFrame

let private forward (method: NextFrame) frames =
    let context = StepContext(7UL, 0L, 100L, 0)
    method.Forward(Clip frames, &context)

let private picture (method: NextFrame) frames =
    let context = StepContext(7UL, 0L, 100L, 0)
    method.Picture(Clip frames, &context)

let private frozen (method: NextFrame) =
    for struct (_, m) in method.Trained do
        m.eval ()

[<Tests>]
let tests =
    testList
        "next frame"
        [
            test "the loss is that of the predictions, each from the frames before it" {
                for _, time in timeModels do
                    for name, output in outputs do
                        for error in [ FrameError.Squared; FrameError.Absolute ] do
                            for every in [ true; false ] do
                                use scope = torch.NewDisposeScope()
                                use method = make time output error every
                                frozen method // so that a prediction does not depend on what else is in the batch
                                let frames = films 1 2 5

                                let targets = if every then [ 2..4 ] else [ 4 ]

                                let costs =
                                    [
                                        for t in targets do
                                            let p = method.Next(frames.narrow (1, 0, int64 t)) |> doubles
                                            let x = frames.select (1, int64 t) |> doubles

                                            Array.map2
                                                (fun p x ->
                                                    if error = FrameError.Squared then
                                                        (p - x) ** 2.
                                                    else
                                                        abs (p - x))
                                                p
                                                x
                                            |> Array.average
                                    ]

                                let output = forward method frames
                                close name 1e-5 (List.average costs) (scalar output.Loss)
                                Expect.equal output.Embedding.shape [| 8L; 8L |] "features of every known frame"
            }

            test "causality: no later frame has a say in an earlier prediction" {
                for name, time in timeModels do
                    use scope = torch.NewDisposeScope()
                    use method = make time (FrameMotion 2) FrameError.Squared true
                    frozen method
                    let frames = (films 1 2 6).requires_grad_()

                    // Errors at frames 2 and 3 reach frames 0 to 2, and nothing later.
                    (forward method (frames.narrow (1, 0, 4L))).Loss.backward()
                    let known, toCome = largest frames.grad |> Array.splitAt 3
                    Expect.all known (fun g -> g > 0.) $"{name}: known frames"
                    Expect.all toCome (fun g -> g = 0.) $"{name}: the frame to come, and those after it"
            }

            test "what the frames before the last say goes through the encoder alone" {
                use scope = torch.NewDisposeScope()

                for name, output in outputs do
                    use method = make (LstmOptions(6, 1)) output FrameError.Squared false
                    frozen method
                    let frames = films 1 2 4
                    let other = frames.clone ()
                    other.narrow(1, 0, 2L).add_((0.5).ToScalar()) |> ignore

                    let difference () =
                        (method.Next(frames.narrow (1, 0, 3L)) - method.Next(other.narrow (1, 0, 3L)))
                            .abs()
                            .max()
                            .item<float32>()

                    Expect.isGreaterThan (difference ()) 1e-6f $"{name}: they have a say"

                    // An encoder that says nothing.
                    use _ = torch.no_grad ()

                    for _, p in parameters method.Encoder do
                        p.zero_ () |> ignore

                    Expect.equal (difference ()) 0f $"{name}: not past the encoder"
            }

            test "a decoder without weights copies the last frame, or half of it" {
                use scope = torch.NewDisposeScope()
                let frames = films 1 2 4
                let last = frames.select (1, 3L)

                for name, output, expected in
                    [
                        "whole", (WholeFrame() :> FrameOutput), torch.zeros_like last
                        "residual", FrameResidual(), last
                        "motion", FrameMotion 1, MovedPixels.Apply(torch.zeros (2L, 8L, 8L, 9L), last, 1)
                    ] do
                    use method = make (LstmOptions(6, 1)) output FrameError.Squared true
                    use _ = torch.no_grad ()

                    let struct (_, decoder) =
                        method.Trained |> Seq.find (fun (struct (prefix, _)) -> prefix = "decoder")

                    for _, p in parameters decoder do
                        p.zero_ () |> ignore

                    Expect.isTrue (torch.allclose (method.Next frames, expected, 1e-5, 1e-6)) name
            }

            test "the next frame and pictures leave modes, gradients and tensors as they were" {
                use method = make (LstmOptions(6, 1)) (FrameMotion 1) FrameError.Squared true

                for struct (_, m) in method.Trained do
                    m.train ()

                let struct (_, decoder) = method.Trained[2]
                decoder.eval ()
                let before = modes method

                use frames =
                    (use scope = torch.NewDisposeScope()
                     (films 1 2 4).MoveToOuterDisposeScope())

                use first = method.Next frames
                Expect.isFalse first.requires_grad "no graph"
                use images = (picture method frames).Images
                ignore images
                Expect.equal (modes method) before "modes"
                let live = Tests.Support.LiveTensors.settled ()

                for _ in 1..3 do
                    use next = method.Next frames
                    use images = (picture method frames).Images
                    ignore (next, images)

                Expect.equal torch.Tensor.TotalCount live "live tensors"
            }

            test "a picture shows the known frames, the true next one and the predicted one" {
                use scope = torch.NewDisposeScope()
                use method = make (LstmOptions(6, 1)) (FrameResidual()) FrameError.Squared true
                let frames = films 1 2 4
                let picture = picture method frames

                Expect.equal
                    (List.ofSeq picture.Columns)
                    [ "frame 1"; "frame 2"; "frame 3"; "frame 4, true"; "frame 4, predicted" ]
                    "columns"

                Expect.equal picture.Images.shape [| 2L; 5L; 3L; 8L; 8L |] "rows"
                Expect.isTrue (picture.Images.narrow(1, 0, 4L).eq(frames).all().item<bool>()) "the film"

                Expect.isTrue
                    (torch.allclose (picture.Images.select (1, 4L), method.Next(frames.narrow (1, 0, 3L))))
                    "the prediction"
            }

            test "gray films: one channel, shown with three" {
                use scope = torch.NewDisposeScope()
                let encoder = new ResNet(ResNetOptions(ResidualBlock.Basic, [| 1; 1 |], 4, Stem.CifarStride2, 1))

                use method =
                    new NextFrame(
                        encoder,
                        NextFrameOptions(LstmOptions(4, 1), [| 4; 4 |], WholeFrame(), FrameError.Squared, true),
                        1
                    )

                method.Initialise 3UL
                let frames = (films 1 2 3).narrow(2, 0, 1L)
                Expect.isTrue (Double.IsFinite(scalar (forward method frames).Loss)) "loss"
                Expect.equal (picture method frames).Images.shape [| 2L; 4L; 3L; 8L; 8L |] "picture"
            }

            test "no levels, no projector, no state" {
                use method = make (LstmOptions(6, 1)) (WholeFrame()) FrameError.Squared true
                Expect.equal (method.Levels 8) (LossLevels(Nullable(), Nullable())) "levels"
                Expect.isNull method.Projector "projector"
                Expect.equal method.State.Count 0 "state"
            }

            test "what cannot work is refused with what to do" {
                use scope = torch.NewDisposeScope()
                use method = make (LstmOptions(6, 1)) (WholeFrame()) FrameError.Squared true

                Expect.stringContains
                    (message (fun () -> (forward method (films 1 2 2)).Loss))
                    "at least 3 frames"
                    "short clips"

                let large = torch.zeros [| 1L; 3L; 3L; 10L; 10L |]

                Expect.stringContains
                    (message (fun () -> (forward method large).Loss))
                    "12x12 of the encoder's 3x3, but frames are 10x10"
                    "decoder"

                use encoder = small ()

                let refused output decoder =
                    message (fun () ->
                        new NextFrame(
                            encoder,
                            NextFrameOptions(LstmOptions(4, 1), decoder, output, FrameError.Squared, true),
                            3
                        ))

                Expect.stringContains (refused (FrameMotion 0) [| 4; 4 |]) "reach" "reach"
                Expect.stringContains (refused (WholeFrame()) [| 0 |]) "at least 1" "decoder"
            }
        ]

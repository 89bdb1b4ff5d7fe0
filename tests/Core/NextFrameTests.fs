/// Next-frame prediction: losses, models of time, moved pixels, causality, and the predictions that need no learning.
module Tests.Core.NextFrameTests

open System
open System.Threading
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks

let private cpu = torch.device "cpu"

let private close tolerance (expected: float) (got: float) what =
    Expect.isLessThan (abs (expected - got)) (tolerance * max 1. (abs expected)) $"{what}: {expected} against {got}"

let private value (t: torch.Tensor) = (doubles t)[0]

let private message f =
    try
        f () |> ignore
        ""
    with :? ArgumentException as e ->
        e.Message

let private arbitrary seed count =
    Array.init count (fun i -> sin (float seed + 1.3 * float i + 0.017 * float (i * i)))

/// The largest size of a value at each step of (M, T, …).
let private largest (t: torch.Tensor) =
    let steps = int t.shape[1]
    let all = doubles (t.transpose (0, 1)) |> Array.map abs
    all |> Array.chunkBySize (all.Length / steps) |> Array.map Array.max

/// Central differences of a function of many numbers.
let private differences (f: float[] -> float) (x: float[]) =
    let h = 1e-5

    Array.init x.Length (fun i ->
        let moved by =
            let y = Array.copy x
            y[i] <- y[i] + by
            f y

        (moved h - moved -h) / (2. * h))

let private losses =
    testList
        "frame loss"
        [
            test "loss equals loops over every pixel, in both precisions" {
                for shape in [ [| 1L; 1L; 1L |]; [| 2L; 3L; 4L; 5L |]; [| 2L; 3L; 1L; 4L; 4L |] ] do
                    use scope = torch.NewDisposeScope()
                    let count = int (Array.reduce (*) shape)
                    let p, x = arbitrary 1 count, arbitrary 2 count
                    let squared = Array.map2 (fun p x -> (p - x) ** 2.) p x |> Array.average
                    let absolute = Array.map2 (fun p x -> abs (p - x)) p x |> Array.average

                    for dtype, tolerance in [ torch.float64, 1e-12; torch.float32, 1e-6 ] do
                        let real values =
                            (tensor shape values).``to``(dtype: torch.ScalarType)

                        let first = FrameLoss.Squared(real p, real x)
                        Expect.equal first.dtype dtype "dtype"
                        close tolerance squared (value first) "squared"
                        close tolerance absolute (value (FrameLoss.Absolute(real p, real x))) "absolute"
            }

            test "gradient equals finite differences; none reaches the truth" {
                let shape = [| 2L; 3L; 2L; 2L |]

                for loss in
                    [
                        (fun (p, x) -> FrameLoss.Squared(p, x))
                        (fun (p, x) -> FrameLoss.Absolute(p, x))
                    ] do
                    use scope = torch.NewDisposeScope()
                    let p, x = arbitrary 3 24, arbitrary 4 24

                    let f p =
                        value (loss (tensor shape p, tensor shape x))

                    let predicted = (tensor shape p).requires_grad_()
                    let truth = (tensor shape x).requires_grad_()
                    (loss (predicted, truth)).backward()
                    Array.iter2 (fun e g -> close 1e-8 e g "gradient") (differences f p) (doubles predicted.grad)
                    Expect.isNull truth.grad "truth"
            }

            test "a right prediction costs nothing and has a finite gradient" {
                use scope = torch.NewDisposeScope()

                for loss in
                    [
                        (fun (p, x) -> FrameLoss.Squared(p, x))
                        (fun (p, x) -> FrameLoss.Absolute(p, x))
                    ] do
                    for level in [ 0.; 3. ] do
                        let same = tensor [| 2L; 1L; 2L; 2L |] (Array.create 8 level)
                        let leaf = same.clone().requires_grad_()
                        let l = loss (leaf, same)
                        l.backward ()
                        Expect.equal (value l) 0. "loss"
                        Expect.allEqual (doubles leaf.grad) 0. "gradient"
            }

            test "errors say what was wrong" {
                use scope = torch.NewDisposeScope()
                let t (shape: int64[]) = torch.zeros shape

                Expect.stringContains
                    (message (fun () -> FrameLoss.Squared(t [| 2L; 3L; 4L; 4L |], t [| 2L; 3L; 4L; 5L |])))
                    "received (2, 3, 4, 4) and (2, 3, 4, 5)"
                    "shapes"

                Expect.stringContains
                    (message (fun () -> FrameLoss.Absolute(t [| 4L; 4L |], t [| 4L; 4L |])))
                    "(…, C, H, W)"
                    "no frames"
            }
        ]

let private build inputs (options: TimeModelOptions) =
    let model = TimeModel.Create(inputs, options)
    SeededInitialisation.Apply(model, 5UL, "time")
    model

let private set (p: torch.Tensor) (source: torch.Tensor) =
    use _ = torch.no_grad ()
    p.copy_ source |> ignore

let private kinds: (string * TimeModelOptions) list =
    [
        "LSTM", LstmOptions(6, 1)
        "LSTM, two layers", LstmOptions(5, 2)
        "transformer", CausalTransformerOptions(8, 2, 2, 2.)
    ]

/// A number for each row, step and element.
let private series seed (rows: int) (steps: int) (width: int) =
    (tensor [| int64 rows; int64 steps; int64 width |] (arbitrary seed (rows * steps * width))).``to`` torch.float32

let private times =
    testList
        "models of time"
        [
            test "LSTM: values and gradients of torch's own" {
                use scope = torch.NewDisposeScope()
                use ours = build 4 (LstmOptions(3, 2))
                use theirs = torch.nn.LSTM(4L, 3L, 2L, batchFirst = true)
                let own = parameters ours |> Map.ofList

                for name, p in parameters theirs do
                    let layer = name.Substring(name.Length - 1)

                    let source =
                        if name.StartsWith "weight_ih" then
                            own[$"layers.{layer}.from_input.weight"]
                        elif name.StartsWith "weight_hh" then
                            own[$"layers.{layer}.from_state.weight"]
                        elif name.StartsWith "bias_ih" then
                            own[$"layers.{layer}.from_input.bias"]
                        else
                            torch.zeros_like p

                    set p source

                let x = series 1 5 4 4
                let struct (expected, _, _) = theirs.forward (x, Nullable())
                let got = ours.call x
                Expect.equal got.shape [| 5L; 4L; 3L |] "shape"
                Expect.isTrue (torch.allclose (got, expected, 1e-5, 1e-6)) "values"
                got.square().mean().backward()
                expected.square().mean().backward()
                let theirs = parameters theirs |> Map.ofList

                for layer in 0..1 do
                    for mine, name in
                        [
                            "from_input.weight", "weight_ih"
                            "from_state.weight", "weight_hh"
                            "from_input.bias", "bias_ih"
                        ] do
                        let a, b = own[$"layers.{layer}.{mine}"].grad, theirs[$"{name}_l{layer}"].grad
                        Expect.isTrue (torch.allclose (a, b, 1e-4, 1e-7)) $"gradient of {name}_l{layer}"
            }

            test "LSTM: loops from the equations" {
                use scope = torch.NewDisposeScope()
                use model = build 3 (LstmOptions(2, 1))
                let own = parameters model |> Map.ofList

                let rows (name: string) width =
                    doubles own[name] |> Array.chunkBySize width

                let wx, wh, b =
                    rows "layers.0.from_input.weight" 3,
                    rows "layers.0.from_state.weight" 2,
                    doubles own["layers.0.from_input.bias"]

                let x = arbitrary 2 12 |> Array.chunkBySize 3 // one row of four steps
                let dot = Array.fold2 (fun s p q -> s + p * q) 0.
                let sigmoid v = 1. / (1. + exp -v)
                let h, c = [| 0.; 0. |], [| 0.; 0. |]

                let expected =
                    [|
                        for step in x do
                            let gate k j =
                                let row = 2 * k + j
                                dot wx[row] step + dot wh[row] h + b[row]

                            let cell =
                                Array.init 2 (fun j -> sigmoid (gate 1 j) * c[j] + sigmoid (gate 0 j) * tanh (gate 2 j))

                            let state = Array.init 2 (fun j -> sigmoid (gate 3 j) * tanh cell[j])
                            Array.blit state 0 h 0 2
                            Array.blit cell 0 c 0 2
                            yield! state
                    |]

                Array.iter2 (fun e g -> close 1e-5 e g "state") expected (doubles (model.call (series 2 1 4 3)))
            }

            test "a state depends on no later step, and on every earlier one" {
                for name, options in kinds do
                    use scope = torch.NewDisposeScope()
                    use model = build 4 options
                    let x = series 1 3 5 4
                    let before = model.call x
                    Expect.equal before.shape [| 3L; 5L; int64 model.FeatureCount |] name

                    for t in 0..4 do
                        let moved = x.clone ()
                        moved.select(1, int64 t).add_((0.5).ToScalar()) |> ignore
                        let change = largest (model.call moved - before)

                        for s in 0..4 do
                            if s < t then
                                Expect.isLessThan change[s] 1e-6 $"{name}: state {s}, step {t}"
                            else
                                Expect.isGreaterThan change[s] 1e-5 $"{name}: state {s}, step {t}"
            }

            test "a beginning has the states of the whole" {
                for name, options in kinds do
                    use scope = torch.NewDisposeScope()
                    use model = build 4 options
                    let x = series 1 3 5 4
                    let whole = model.call x

                    for steps in 1L .. 4L do
                        let part = model.call (x.narrow (1, 0, steps))
                        Expect.isTrue (torch.allclose (part, whole.narrow (1, 0, steps), 1e-5, 1e-6)) $"{name}, {steps}"
            }

            test "impossible models and inputs are refused" {
                for options in
                    [
                        LstmOptions(0, 1) :> TimeModelOptions
                        LstmOptions(4, 0)
                        CausalTransformerOptions(6, 1, 2, 2.)
                        CausalTransformerOptions(8, 0, 2, 2.)
                        CausalTransformerOptions(8, 1, 3, 2.)
                    ] do
                    Expect.isNotEmpty (message (fun () -> TimeModel.Create(4, options))) $"{options}"

                use wrong = torch.zeros (2L, 3L, 5L)

                for name, options in kinds do
                    use model = build 4 options
                    Expect.stringContains (message (fun () -> model.call wrong)) "expected (M, T, 4)" name
            }
        ]

/// Every pixel as a weighted mean of its window, loop by loop.
let private naiveMove (scores: float[]) (source: float[]) m c h w reach =
    let side = 2 * reach + 1
    let window = side * side

    [|
        for i in 0 .. m - 1 do
            for channel in 0 .. c - 1 do
                for y in 0 .. h - 1 do
                    for x in 0 .. w - 1 do
                        let raw =
                            Array.init window (fun k ->
                                scores[((i * h + y) * w + x) * window + k]
                                + if k = window / 2 then log (float (window - 1)) else 0.)

                        let largest = Array.max raw
                        let weights = raw |> Array.map (fun s -> exp (s - largest))
                        let total = Array.sum weights

                        let pixel k =
                            let row = Math.Clamp(y + k / side - reach, 0, h - 1)
                            let column = Math.Clamp(x + k % side - reach, 0, w - 1)
                            source[((i * c + channel) * h + row) * w + column]

                        Seq.sum (seq { for k in 0 .. window - 1 -> weights[k] / total * pixel k })
    |]

let private moved =
    testList
        "moved pixels"
        [
            test "values equal loops over every window" {
                for m, c, h, w, reach in [ 1, 1, 1, 1, 1; 2, 3, 4, 5, 1; 1, 2, 6, 3, 2; 2, 1, 3, 3, 3 ] do
                    use scope = torch.NewDisposeScope()
                    let window = MovedPixels.Window reach
                    Expect.equal window (pown (2 * reach + 1) 2) "window"
                    let scores = arbitrary 1 (m * h * w * window) |> Array.map ((*) 3.)
                    let source = arbitrary 2 (m * c * h * w)
                    let size = [ m; c; h; w ] |> List.map int64

                    let got =
                        MovedPixels.Apply(
                            tensor [| size[0]; size[2]; size[3]; int64 window |] scores,
                            tensor (List.toArray size) source,
                            reach
                        )

                    Expect.equal (List.ofArray got.shape) size "shape"

                    Array.iter2
                        (fun e g -> close 1e-12 e g "pixel")
                        (naiveMove scores source m c h w reach)
                        (doubles got)
            }

            test "equal scores leave half of each pixel where it is; one large score moves the image" {
                use scope = torch.NewDisposeScope()
                let source = tensor [| 1L; 1L; 5L; 5L |] (Array.init 25 (fun i -> if i = 12 then 1. else 0.))

                let still =
                    MovedPixels.Apply(tensor [| 1L; 5L; 5L; 9L |] (Array.zeroCreate 225), source, 1)
                    |> doubles

                close 1e-12 0.5 still[12] "the pixel"
                close 1e-12 (1. / 16.) still[6] "its neighbours"

                // From the pixel on the left: the image goes to the right.
                let scores = Array.init 225 (fun i -> if i % 9 = 3 then 60. else 0.)
                let right = MovedPixels.Apply(tensor [| 1L; 5L; 5L; 9L |] scores, source, 1) |> doubles
                Array.iteri (fun i v -> close 1e-12 (if i = 13 then 1. else 0.) v $"{i}") right
            }

            test "gradient equals finite differences, for scores and source" {
                use scope = torch.NewDisposeScope()
                let s, x = arbitrary 5 (2 * 3 * 2 * 9), arbitrary 6 (2 * 2 * 3 * 2)
                let scores values = tensor [| 2L; 3L; 2L; 9L |] values
                let source values = tensor [| 2L; 2L; 3L; 2L |] values
                let weigh (t: torch.Tensor) = t.mul(source (arbitrary 7 24)).sum()
                let leafS, leafX = (scores s).requires_grad_(), (source x).requires_grad_()
                (weigh (MovedPixels.Apply(leafS, leafX, 1))).backward()

                Array.iter2
                    (fun e g -> close 1e-8 e g "scores")
                    (differences (fun s -> value (weigh (MovedPixels.Apply(scores s, source x, 1)))) s)
                    (doubles leafS.grad)

                Array.iter2
                    (fun e g -> close 1e-8 e g "source")
                    (differences (fun x -> value (weigh (MovedPixels.Apply(scores s, source x, 1)))) x)
                    (doubles leafX.grad)
            }

            test "shapes that do not fit are refused" {
                use scope = torch.NewDisposeScope()
                let scores (window: int64) = torch.zeros (1L, 4L, 4L, window)
                use source = torch.zeros (1L, 3L, 4L, 4L)

                for window, reach in [ 9L, 2; 25L, 1; 1L, 0 ] do
                    Expect.stringContains
                        (message (fun () -> MovedPixels.Apply(scores window, source, reach)))
                        "reach of at least 1"
                        $"{window}, {reach}"
            }
        ]

// ---- the method

let private small () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.CifarStride2

let private outputs: (string * FrameOutput) list =
    [ "whole", WholeFrame(); "residual", FrameResidual(); "motion", FrameMotion 2 ]

let private make (time: TimeModelOptions) output error every =
    let method = new NextFrame(small (), NextFrameOptions(time, [| 6; 4 |], output, error, every), 3)

    method.Initialise 3UL
    method

/// Clips of so many frames of 8 pixels.
let private films seed (n: int) (length: int) =
    (tensor [| int64 n; int64 length; 3L; 8L; 8L |] (arbitrary seed (n * length * 192))).``to`` torch.float32

let private forward (method: NextFrame) frames =
    let context = StepContext(7UL, 0L, 100L, 0)
    method.Forward(Clip frames, &context)

let private picture (method: NextFrame) frames =
    let context = StepContext(7UL, 0L, 100L, 0)
    method.Picture(Clip frames, &context)

let private modes (method: NextFrame) =
    [
        for struct (_, m) in method.Trained do
            m.training

            for struct (_, inner) in m.named_modules () do
                inner.training
    ]

let private frozen (method: NextFrame) =
    for struct (_, m) in method.Trained do
        m.eval ()

let private methods =
    testList
        "next frame"
        [
            test "the loss is that of the predictions, each from the frames before it" {
                for _, time in kinds do
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
                                close 1e-5 (List.average costs) (value output.Loss) name
                                Expect.equal output.Embedding.shape [| 8L; 8L |] "features of every known frame"
            }

            test "causality: no later frame has a say in an earlier prediction" {
                for name, time in kinds do
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
                Expect.isTrue (Double.IsFinite(value (forward method frames).Loss)) "loss"
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

// ---- predictions that need no learning

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

let private baselines =
    testList
        "frame prediction"
        [
            test "copy and extrapolation of given frames" {
                use scope = torch.NewDisposeScope()
                let values = [| 0.5; 0.2; 0.1; 0.9; 0.3; 0.6; 0.3; 0.9 |] // pixels a and b of two clips' frames 0 and 1
                let frames = (tensor [| 2L; 2L; 1L; 1L; 2L |] values).``to`` torch.float32

                Array.iter2
                    (fun e g -> close 1e-6 e g "copy")
                    [| 0.1; 0.9; 0.3; 0.9 |]
                    (doubles (FramePrediction.Copied frames))

                // 2·0.1 − 0.5 < 0 and 2·0.9 − 0.2 > 1 are cut.
                Array.iter2
                    (fun e g -> close 1e-6 e g "extrapolation")
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
                        close 1e-6 off e.Predicted "the model, which copies"
                        close 1e-6 off e.Copied "copy"
                        close 1e-9 0. e.Extrapolated "straight line"

                Expect.equal (measure films copy 4 2 |> List.map _.Frame) [ 4 ] "the last alone"
            }

            test "closed forms: a pixel that jumps" {
                // Pixel t of frame t is lit: a copy is wrong by 1 at the one that goes out and at the new one. So is a straight line, for what
                // it says beyond white and black is cut.
                use films = store 2 4 4 (fun _ t p _ -> if p = t then 255uy else 0uy)

                for e in measure films copy 2 2 do
                    close 1e-6 (2. / 16.) e.Copied "copy"
                    close 1e-6 (2. / 16.) e.Extrapolated "line"

                // In the middle of the range nothing is cut.
                use gray = store 2 4 4 (fun _ t p _ -> if p = t then 128uy else 64uy)
                let step = (64. / 255.) ** 2.

                for e in measure gray copy 2 2 do
                    close 1e-5 (2. / 16. * step) e.Copied "copy"

                    // Of the line: the lit pixel is told 192 where it is 64, the one that went out 0 where it is 64, the new one 64 where it is 128.
                    close 1e-5 ((4. + 1. + 1.) / 16. * step) e.Extrapolated "line"
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

                Array.iter2 (fun e g -> close 1e-5 e g "normalised") expected (snd calls[0])

                let white =
                    [
                        for i in 0..1 do
                            for p in 0..15 do
                                for c in 0..2 -> (1. - pixel i 3 p c) ** 2.
                    ]

                close 1e-5 (List.average white) errors.Head.Predicted "white"
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
                close 1e-5 copied.Copied copied.Predicted "without weights it copies"
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

[<Tests>]
let tests = testList "next-frame prediction" [ losses; times; moved; methods; baselines ]

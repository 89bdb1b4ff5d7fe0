namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views

/// Long short-term memory.
type LstmTime =
    {
        /// Length of the state.
        Width: int
        Layers: int
    }

/// A causal transformer over the frames.
type TransformerTime =
    {
        /// Length of a token; a multiple of 4.
        Width: int
        /// Blocks.
        Depth: int
        /// Attention heads; they divide the width.
        Heads: int
        /// Width of a block's hidden layer over that of a token.
        MlpRatio: float
    }

/// What remembers the frames so far. It works at each position of the encoder's map by itself, with the same weights.
[<RequireQualifiedAccess>]
type FrameMemory =
    | Lstm of LstmTime
    | Transformer of TransformerTime

/// How the decoder's values become a frame.
[<RequireQualifiedAccess>]
type FramePainting =
    /// They are the frame.
    | Whole
    /// They are added to the last known frame.
    | Residual
    /// They say for each pixel where in the last known frame it comes from, at most so many pixels away in each direction
    /// (Jia et al. 2016; Finn et al. 2016).
    | Motion of reach: int

/// What a predicted frame costs.
[<RequireQualifiedAccess>]
type FrameCost =
    /// Mean squared difference.
    | Squared
    /// Mean absolute difference.
    | Absolute

/// Which frames of a clip are predicted, each from those before it alone.
[<RequireQualifiedAccess>]
type FrameTargets =
    /// The last one.
    | Last
    /// Each that at least two precede.
    | Every

/// Next-frame prediction (Srivastava et al. 2015, "Unsupervised learning of video representations using LSTMs"): an encoder of single
/// frames, a model of time, a decoder.
type NextFrame =
    {
        Memory: FrameMemory
        /// Channels after each doubling of the encoder's feature map. Together they must lead to the size of a frame.
        Decoder: int list
        Painting: FramePainting
        Cost: FrameCost
        Targets: FrameTargets
    }

    /// The documents' form: LSTM, a deconvolution decoder that makes the whole frame, squared error. The decoder suits an encoder of
    /// stride 32.
    static member Default: NextFrame =
        {
            Memory = FrameMemory.Lstm { Width = 512; Layers = 1 }
            Decoder = [ 256; 128; 64; 32; 16 ]
            Painting = FramePainting.Whole
            Cost = FrameCost.Squared
            Targets = FrameTargets.Last
        }

    /// The documents' other model of time.
    static member Transformer: NextFrame =
        { NextFrame.Default with
            Memory =
                FrameMemory.Transformer
                    {
                        Width = 512
                        Depth = 4
                        Heads = 8
                        MlpRatio = 4.
                    }
        }

    /// The CPU-scale preset for frames of 32 pixels and an encoder of stride 8: what the last frame shows comes from that frame, so that
    /// the 4×4 map has to carry what moves and how. Shapes in motion go up to 3 pixels a frame. It wants AdamW with a rate near 1e-3,
    /// for a frame's mean squared error is a small number.
    static member CpuShapes: NextFrame =
        {
            Memory = FrameMemory.Lstm { Width = 128; Layers = 1 }
            Decoder = [ 64; 32; 16 ]
            Painting = FramePainting.Motion 3
            Cost = FrameCost.Squared
            Targets = FrameTargets.Every
        }

    /// The same with a causal transformer in the LSTM's place.
    static member CpuShapesTransformer: NextFrame =
        { NextFrame.CpuShapes with
            Memory =
                FrameMemory.Transformer
                    {
                        Width = 128
                        Depth = 2
                        Heads = 4
                        MlpRatio = 2.
                    }
        }

    interface IMethod<Clip> with
        member m.Build context =
            let memory: TimeModelOptions =
                match m.Memory with
                | FrameMemory.Lstm o -> LstmOptions(o.Width, o.Layers)
                | FrameMemory.Transformer o -> CausalTransformerOptions(o.Width, o.Depth, o.Heads, o.MlpRatio)

            let output: FrameOutput =
                match m.Painting with
                | FramePainting.Whole -> WholeFrame()
                | FramePainting.Residual -> FrameResidual()
                | FramePainting.Motion reach -> FrameMotion reach

            let error =
                match m.Cost with
                | FrameCost.Squared -> FrameError.Squared
                | FrameCost.Absolute -> FrameError.Absolute

            new SslResearch.Core.Methods.NextFrame(
                context.Encoder,
                NextFrameOptions(memory, List.toArray m.Decoder, output, error, (m.Targets = FrameTargets.Every)),
                context.Image.Channels
            )

        member _.Card =
            {
                Name = "next frame"
                Year = 2015
                Kind = Predictive
                Idea = "say what the next frame of a film looks like"
                Views = "clips; the same augmentation for every frame of one"
                Masking = "the frames to come"
                Negatives = "none"
                BatchSize = "little; every frame but the last goes through the encoder"
                Teacher = "none"
                Evaluated = "the encoder of single frames, on still images"
                Equation =
                    "‖x_{t+1} − D(s_t)‖² with the state s_t = M(f(x_1), …, f(x_t)) at each position of f's map, mean over pixels and over the t that are predicted"
                Source = "Srivastava et al. 2015"
                Differences =
                    [
                        "the paper's LSTM reads whole frames or features of a fixed network and predicts several frames; here the encoder is trained with it, position by position, and one frame is predicted"
                        "besides the whole frame (the documents') the decoder can give a residual to the last frame, or a window of weights for each pixel that moves the last frame's pixels (Jia et al. 2016; Finn et al. 2016)"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "memory",
                (match m.Memory with
                 | FrameMemory.Lstm o ->
                     let layers = if o.Layers = 1 then "" else $", {o.Layers} layers"
                     $"LSTM {o.Width}{layers}"
                 | FrameMemory.Transformer o ->
                     $"causal transformer width {o.Width}, depth {o.Depth}, {o.Heads} heads, MLP ratio {Problem.number o.MlpRatio}")

                "decoder", m.Decoder |> List.map string |> String.concat ", "

                "painting",
                (match m.Painting with
                 | FramePainting.Whole -> "whole frame"
                 | FramePainting.Residual -> "residual to the last frame"
                 | FramePainting.Motion reach -> $"pixels of the last frame, moved by up to {reach}")

                "cost",
                (match m.Cost with
                 | FrameCost.Squared -> "squared"
                 | FrameCost.Absolute -> "absolute")

                "predicted",
                (match m.Targets with
                 | FrameTargets.Last -> "last frame"
                 | FrameTargets.Every -> "every frame after two")
            ]

        member m.Problems =
            [
                match m.Memory with
                | FrameMemory.Lstm o ->
                    yield! Problem.atLeast 1 "Memory.Width" o.Width
                    yield! Problem.atLeast 1 "Memory.Layers" o.Layers
                | FrameMemory.Transformer o ->
                    yield! Problem.atLeast 4 "Memory.Width" o.Width
                    yield! Problem.atLeast 1 "Memory.Depth" o.Depth
                    yield! Problem.atLeast 1 "Memory.Heads" o.Heads
                    yield! Problem.positive "Memory.MlpRatio" o.MlpRatio

                    yield!
                        Problem.unless
                            (o.Heads < 1 || (o.Width % 4 = 0 && o.Width % o.Heads = 0))
                            "Memory.Width"
                            $"a width of {o.Width} for {o.Heads} heads"
                            "Give a multiple of 4 and of the heads"

                for i, width in List.indexed m.Decoder do
                    yield! Problem.atLeast 1 $"Decoder[{i}]" width

                match m.Painting with
                | FramePainting.Motion reach -> yield! Problem.atLeast 1 "Painting.reach" reach
                | _ -> ()
            ]

    interface IMeasured<Clip> with
        /// Errors of the last frame of every clip, for pixels from 0 to 1.
        member _.Measure(method, on) =
            let predictor = method :?> SslResearch.Core.Methods.NextFrame

            let errors =
                FramePrediction.Measure(
                    on.Test,
                    Augmentation.channels on.Normalisation,
                    (fun frames -> predictor.Next frames),
                    FrameStrip.Frames on.Test.Shape - 1,
                    64,
                    on.Device,
                    on.Stop
                )
                |> Seq.last

            [
                "squared error of the last frame", errors.Predicted
                "of the frame before it", errors.Copied
                "of the straight line through two", errors.Extrapolated
            ]

    static member Entry =
        MethodEntry.make<Clip>
            NextFrame.Default
            [
                "default (documents)", NextFrame.Default
                "transformer (documents)", NextFrame.Transformer
                "CPU-scale Shapes in motion", NextFrame.CpuShapes
                "CPU-scale Shapes in motion, transformer", NextFrame.CpuShapesTransformer
            ]

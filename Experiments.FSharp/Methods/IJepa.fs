namespace SslResearch

open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views

/// How far a predicted token is from its target, mean over patches and features.
[<RequireQualifiedAccess>]
type TokenDistance =
    /// x²/2 up to 1, |x| − 1/2 beyond: the authors' code.
    | SmoothL1
    /// x²: the paper.
    | Squared

/// Assran et al. 2023, "Self-supervised learning from images with a joint-embedding predictive architecture".
type IJepa =
    {
        /// Length of the predictor's tokens; a multiple of 4 and of its heads.
        PredictorWidth: int
        /// Blocks of the predictor.
        PredictorDepth: int
        /// Attention heads of the predictor; the paper takes as many as the encoder has.
        PredictorHeads: int
        Distance: TokenDistance
        /// Whether each target token gets mean 0 and variance 1 over its features.
        NormaliseTargets: bool
        /// Part of the target encoder's weights that the first step keeps.
        Momentum: float
        /// The same at the end; between them a straight line.
        FinalMomentum: float
    }

    /// The paper's predictor for a ViT-B/16: 384 wide, 6 deep, as many heads as the encoder (appendix A), momentum 0.996 to 1 (section 3); smooth
    /// L1 to normalised targets as in the authors' code.
    static member Default =
        {
            PredictorWidth = 384
            PredictorDepth = 6
            PredictorHeads = 12
            Distance = TokenDistance.SmoothL1
            NormaliseTargets = true
            Momentum = 0.996
            FinalMomentum = 1.
        }

    /// The loss as the paper's section 3 writes it: squared differences to the target encoder's tokens as they are.
    static member PaperLoss =
        { IJepa.Default with
            Distance = TokenDistance.Squared
            NormaliseTargets = false
        }

    /// The CPU-scale preset for an encoder 128 wide with 4 heads: a predictor half as wide, 2 deep; momentum from 0.98, for a training of some
    /// thousand steps.
    static member CpuCifar =
        { IJepa.Default with
            PredictorWidth = 64
            PredictorDepth = 2
            PredictorHeads = 4
            Momentum = 0.98
        }

    interface INeedsVisionTransformer

    interface IMethod<ContextTargets> with
        member m.Build context =
            let distance =
                match m.Distance with
                | TokenDistance.SmoothL1 -> JepaDistance.SmoothL1
                | TokenDistance.Squared -> JepaDistance.Squared

            new SslResearch.Core.Methods.IJepa(
                context.Encoder,
                IJepaOptions(
                    JepaPredictorOptions(m.PredictorWidth, m.PredictorDepth, m.PredictorHeads),
                    distance,
                    m.NormaliseTargets,
                    m.Momentum,
                    m.FinalMomentum
                )
            )

        member _.Card =
            {
                Name = "I-JEPA"
                Year = 2023
                Kind = Masked
                Idea =
                    "from some patches, predict what a moving average of the encoder makes of blocks of other patches, in its features and not in pixels"
                Views = "one view, patches to see and blocks of patches to predict"
                Masking = "all patches but the context; blocks of them are predicted"
                Negatives = "none"
                BatchSize = "little; images do not meet in the loss; the paper uses 2048"
                Teacher =
                    "moving average of the encoder on all patches, weights only, without stochastic depth; momentum rises in a straight line"
                Evaluated =
                    "the target encoder, mean of its patch tokens, whatever pooling the setting's encoder has (CLS is not trained as an output)"
                Equation =
                    "mean over blocks, patches and features of d(ŝ − s), s the target encoder's token normalised over its features, ŝ the predictor's; d(x) = x²/2 up to 1, |x| − 1/2 beyond, or x²"
                Source = "Assran et al. 2023"
                Differences =
                    [
                        "sizes of blocks: the authors draw one for a batch and cut all contexts to the smallest of the batch, from their end; here every image has the same counts: all targets one area (the rectangle is drawn for each block), the context a fixed share, what is beyond dropped at random"
                        "a target that would leave too little context is drawn again, up to 64 times, then repeats the one before it; the authors redraw the context and in the end let it overlap a target"
                        "blocks may lie anywhere; the authors' never reach the last row and column"
                        "the paper sums squared differences over a block; the authors' code and ours take the mean"
                        "CLS and registers are tokens that patches attend to, neither predicted from nor predicted; the authors' encoder has none"
                        "encoder and predictor start as DINO's transformer; the authors scale the last layer of each branch down with its depth, and start the patch projection truncated normal"
                        "positions are the setting's, the authors' are fixed sines and cosines (VitPositions.SinCos)"
                        "weight decay stays as the setting has it; the authors raise it from 0.04 to 0.4"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "predictor", $"width {m.PredictorWidth}, depth {m.PredictorDepth}, {m.PredictorHeads} heads"
                "distance",
                (match m.Distance with
                 | TokenDistance.SmoothL1 -> "smooth L1"
                 | TokenDistance.Squared -> "squared")
                "token targets", (if m.NormaliseTargets then "normalised" else "as they are")
                "momentum", $"{Problem.number m.Momentum} to {Problem.number m.FinalMomentum}"
            ]

        member m.Problems =
            [
                yield!
                    Problem.unless
                        (m.PredictorWidth >= 4 && m.PredictorWidth % 4 = 0)
                        "PredictorWidth"
                        $"{m.PredictorWidth} channels for sine-cosine positions"
                        "Give a multiple of 4"

                yield! Problem.atLeast 1 "PredictorDepth" m.PredictorDepth
                yield! Problem.atLeast 1 "PredictorHeads" m.PredictorHeads

                if m.PredictorHeads > 0 && m.PredictorWidth % m.PredictorHeads <> 0 then
                    Problem.make
                        "PredictorHeads"
                        $"{m.PredictorHeads} heads in a width of {m.PredictorWidth}"
                        "Give a divisor of the width"

                yield! Problem.fraction "Momentum" m.Momentum
                yield! Problem.fraction "FinalMomentum" m.FinalMomentum
            ]

    static member Entry =
        MethodEntry.make<ContextTargets>
            IJepa.Default
            [
                "default (paper, the authors' loss)", IJepa.Default
                "the paper's loss", IJepa.PaperLoss
                "CPU-scale CIFAR-10", IJepa.CpuCifar
            ]

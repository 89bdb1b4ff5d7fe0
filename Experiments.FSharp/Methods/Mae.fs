namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views

/// MAE's decoder: transformer blocks with fixed sine-cosine positions.
type MaeDecoder =
    {
        /// Length of its tokens, a multiple of 4.
        Width: int
        /// Blocks.
        Depth: int
        /// Attention heads; they divide the width.
        Heads: int
        /// Width of a block's hidden layer over that of a token.
        MlpRatio: float
        /// ε of the layer normalisations.
        NormEpsilon: float
    }

/// He et al. 2022, "Masked autoencoders are scalable vision learners".
type Mae =
    {
        Decoder: MaeDecoder
        /// Whether each hidden patch is predicted less its own mean and over its own deviation; else its pixels as the views have them.
        NormaliseTargets: bool
    }

    /// The paper: a decoder of 8 blocks of width 512 (section 4.1) with 16 heads (the authors' code), targets normalised. 75 % of the
    /// patches are hidden: `masked patch 0.75`.
    static member Default: Mae =
        {
            Decoder =
                {
                    Width = 512
                    Depth = 8
                    Heads = 16
                    MlpRatio = 4.
                    NormEpsilon = 1e-6
                }
            NormaliseTargets = true
        }

    /// The paper's first target: pixels as they are.
    static member Pixels =
        { Mae.Default with
            NormaliseTargets = false
        }

    /// The CPU-scale start for an encoder of width 128 and depth 4: a decoder of half its width and depth.
    static member CpuCifar =
        { Mae.Default with
            Decoder =
                { Mae.Default.Decoder with
                    Width = 64
                    Depth = 2
                    Heads = 4
                }
        }

    interface INeedsVisionTransformer

    interface IMethod<MaskedView> with
        member m.Build context =
            let d = m.Decoder

            new SslResearch.Core.Methods.Mae(
                context.Encoder,
                MaeOptions(MaeDecoderOptions(d.Width, d.Depth, d.Heads, d.MlpRatio, d.NormEpsilon), m.NormaliseTargets)
            )

        member _.Card =
            {
                Name = "MAE"
                Year = 2022
                Kind = Masked
                Idea = "predict the pixels of hidden patches from an encoding of the visible ones alone"
                Views = "one view, masked"
                Masking = "patches, 75 % in the paper; they never enter the encoder"
                Negatives = "none"
                BatchSize = "none; the paper uses 4096"
                Teacher = "none"
                Evaluated = "the encoder on all patches, without decoder"
                Equation =
                    "mean over hidden patches of mean ((ŷ − (x − μ)/√(σ² + 10⁻⁶))²), μ and σ² of the patch itself"
                Source = "He et al. 2022"
                Differences =
                    [
                        "every image hides the same number of patches, as in the authors' code: the nearest whole number to the ratio of them, of two equally near the even one; the authors keep the floor of the rest, so that they hide the next number up (33 of 36 at 90 %, here 32)"
                        "the decoder keeps the order of the mask and takes positions in that order instead of putting tokens back: the same function"
                        "linear layers and mask token start truncated normal, deviation 0.02; the authors' code takes Xavier's rule for linear layers"
                        "σ² is the unbiased variance, as in the authors' code, so that predicting 0 costs 1 − 1/D for D values of a patch"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "decoder", $"width {m.Decoder.Width}, depth {m.Decoder.Depth}, {m.Decoder.Heads} heads"
                "targets",
                (if m.NormaliseTargets then
                     "normalised by patch"
                 else
                     "pixels")
            ]

        member m.Problems =
            let d = m.Decoder

            Problem.within
                "Decoder"
                [
                    yield! Problem.atLeast 4 "Width" d.Width
                    yield! Problem.atLeast 1 "Depth" d.Depth
                    yield! Problem.atLeast 1 "Heads" d.Heads
                    yield! Problem.positive "NormEpsilon" d.NormEpsilon

                    if d.Width % 4 <> 0 then
                        Problem.make "Width" $"{d.Width} channels for sine-cosine positions" "Give a multiple of 4"

                    if d.Heads > 0 && d.Width % d.Heads <> 0 then
                        Problem.make "Heads" $"{d.Heads} heads in a width of {d.Width}" "Give a divisor of the width"

                    if not (float d.Width * d.MlpRatio >= 1. && System.Double.IsFinite d.MlpRatio) then
                        Problem.make "MlpRatio" $"{Problem.number d.MlpRatio}" "Give a value above 0; 4 is usual"
                ]

    static member Entry =
        MethodEntry.make<MaskedView>
            Mae.Default
            [
                "default (paper)", Mae.Default
                "pixels as targets (paper)", Mae.Pixels
                "CPU-scale CIFAR-10", Mae.CpuCifar
            ]

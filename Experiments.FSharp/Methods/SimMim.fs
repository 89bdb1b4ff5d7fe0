namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Xie et al. 2022, "SimMIM: a simple framework for masked image modeling". The views say what is hidden, the encoder what stands in
/// its place: a learned token in a vision transformer, a learned colour in a residual network.
type SimMim =
    {
        /// Whether errors of pixels are squared; else their absolute values are taken.
        SquaredError: bool
    }

    /// The paper: absolute errors (section 3.4). Its masks hide 60 % in squares of 32 pixels; a transformer's patch may be a part of those.
    static member Default: SimMim = { SquaredError = false }

    /// Squared errors, which the paper compares with.
    static member Squared: SimMim = { SquaredError = true }

    /// The CPU-scale start: nothing in it depends on the scale.
    static member CpuCifar = SimMim.Default

    interface IMethod<MaskedView> with
        member m.Build context =
            new SslResearch.Core.Methods.SimMim(context.Encoder, m.SquaredError)

        member _.Card =
            {
                Name = "SimMIM"
                Year = 2022
                Kind = Masked
                Idea = "predict the pixels of hidden patches with one linear layer on an encoder that sees their places"
                Views = "one view, masked"
                Masking =
                    "patches, 60 % in squares of 32 pixels in the paper: a learned token in their place, or a learned colour where the encoder is a residual network"
                Negatives = "none"
                BatchSize = "none; the paper uses 2048"
                Teacher = "none"
                Evaluated = "the encoder on whole images, without head"
                Equation = "Σ |ŷ − x| (or its square) over hidden pixels and channels / their number"
                Source = "Xie et al. 2022"
                Differences =
                    [
                        "every image hides the same number of patches, as in the authors' code: the nearest whole number of squares to the ratio of them, of two equally near the even one; the authors take the next one up"
                        "the authors' code adds 10⁻⁵ to the number of hidden pixels"
                        "in a residual network a learned colour stands in the place of hidden pixels; the authors' code is for transformers"
                    ]
            }

        member _.HasProjector = false

        member m.Facts = [ "error", (if m.SquaredError then "squared" else "absolute") ]

        member _.Problems = []

    static member Entry =
        MethodEntry.make<MaskedView>
            SimMim.Default
            [
                "default (paper)", SimMim.Default
                "squared error", SimMim.Squared
                "CPU-scale CIFAR-10", SimMim.CpuCifar
            ]

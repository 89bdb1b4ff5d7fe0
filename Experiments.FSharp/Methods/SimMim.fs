namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Xie et al. 2022, "SimMIM: a simple framework for masked image modeling". It has no settings of its own: the views say what is
/// hidden, and the encoder what is replaced.
type SimMim =
    | SimMim

    /// The paper. Its masks hide 60 % in patches of 32 pixels; a transformer's patch may divide those.
    static member Default = SimMim

    /// The same: nothing in it depends on the scale.
    static member CpuCifar = SimMim

    interface IMethod<MaskedView> with
        member _.Build context =
            new SslResearch.Core.Methods.SimMim(context.Encoder)

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
                Equation = "Σ |ŷ − x| over hidden pixels and channels / their number"
                Source = "Xie et al. 2022"
                Differences =
                    [
                        "every image hides the same number of patches, as in the authors' code"
                        "the authors' code adds 10⁻⁵ to the number of hidden pixels"
                        "residual networks, which the paper has only in an appendix, get a learned colour in the place of hidden pixels"
                    ]
            }

        member _.HasProjector = false
        member _.Facts = []
        member _.Problems = []

    static member Entry =
        MethodEntry.make<MaskedView>
            SimMim.Default
            [ "default (paper)", SimMim.Default; "CPU-scale CIFAR-10", SimMim.CpuCifar ]

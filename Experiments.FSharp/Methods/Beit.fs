namespace SslResearch

open System
open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Which words BEiT has to say.
type BeitTargets =
    /// Those of the hidden patches.
    | RealTokens
    /// Those of the batch, dealt out anew over all images and positions at each step: as frequent as the real ones, but without meaning. A
    /// control.
    | ShuffledTokens

/// Bao et al. 2022, "BEiT: BERT pre-training of image transformers". Which patches are hidden is the augmentation's business: in the paper
/// about 40 % of them, in blocks of at least 16.
type Beit =
    {
        /// The run whose trained method names the patches, a Dvae of this encoder's patch. It is trained first, with the same seed, and its
        /// identity is part of this run's. Its data should have the normalisation of this run's.
        Tokenizer: ITrainedRun
        Targets: BeitTargets
    }

    /// The paper's method on a trained tokenizer. The scale is the encoder's: in the paper ViT-B/16 with 8192 words.
    static member Default(tokenizer: ITrainedRun) =
        {
            Tokenizer = tokenizer
            Targets = RealTokens
        }

    interface IUsesRuns with
        member m.Runs = [ m.Tokenizer ]

    interface INeedsVisionTransformer

    interface IMethod<MaskedView> with
        member m.Build context =
            let trained = context.Trained m.Tokenizer

            let targets =
                match m.Targets with
                | RealTokens -> TokenTargets.Real
                | ShuffledTokens -> TokenTargets.Shuffled

            try
                match trained with
                | :? ITokenizer as tokenizer -> new SslResearch.Core.Methods.Beit(context.Encoder, tokenizer, targets)
                | other ->
                    raise (
                        ArgumentException
                            $"'{m.Tokenizer.Title}' trains a {other.GetType().Name}, which names no patches: BEiT's Tokenizer is a run of a Dvae."
                    )
            with _ ->
                trained.Dispose()
                reraise ()

        member _.Card =
            {
                Name = "BEiT"
                Year = 2021
                Kind = Masked
                Idea = "say which words of a trained visual vocabulary the hidden patches of an image are"
                Views = "one view with hidden patches"
                Masking = "40 % of the patches, in blocks"
                Negatives = "none"
                BatchSize = "little; the paper uses 2048"
                Teacher = "the tokenizer of another run, which stays as it is"
                Evaluated = "the encoder, on whole images"
                Equation =
                    "−log softmax(W·f(x with mask tokens)_i + b)_z, z the word of hidden patch i of the whole image, mean over hidden patches"
                Source = "Bao et al. 2022"
                Differences =
                    [
                        "the tokenizer is trained by us, on the same kind of images; the authors take the published one of Ramesh et al."
                        "tokenizer and encoder see the same pixels; the authors' tokenizer sees a copy at half the size, so that 8-pixel words match 16-pixel patches"
                        "relative position bias, LayerScale and stochastic depth are the encoder's business: our vision transformer has the latter two as fields and, in place of the first, a vector for each position"
                        "shuffled words, the control, are ours"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                "tokenizer", m.Tokenizer.Title
                "targets",
                (match m.Targets with
                 | RealTokens -> "words of the hidden patches"
                 | ShuffledTokens -> "words of the batch, shuffled")
            ]

        member m.Problems =
            match m.Tokenizer.Method with
            | Some(:? INamesPatches) -> []
            | _ ->
                Problem.make
                    "Tokenizer"
                    $"'{m.Tokenizer.Title}', which names no patches"
                    "Give a run whose method does, such as Dvae"
                |> List.singleton

    static member Entry =
        let tokenizer =
            { new ITrainedRun with
                member _.Id = "any"
                member _.Title = "a trained dVAE"
                member _.Method = Some(box { new INamesPatches })
            }

        let beit = Beit.Default tokenizer

        MethodEntry.make<MaskedView> beit [ "default (paper)", beit; "control", { beit with Targets = ShuffledTokens } ]

namespace SslResearch

open SslResearch.Core.Evaluation
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open TorchSharp

/// What a discrete autoencoder's decoder says of pixels.
[<RequireQualifiedAccess>]
type DvaePixels =
    /// Their normalised values, by mean squared error.
    | SquaredError
    /// Location and scale of a Laplace distribution behind a sigmoid, whose mass lies in the range of pixels, by its likelihood.
    | LogitLaplace

/// Ramesh et al. 2021, "Zero-shot text-to-image generation", section 2.1 and appendix A: the discrete variational autoencoder whose words BEiT
/// predicts. Its encoder is the setting's, any with a feature map; the stride of the map is the side of the patches that get a word.
type Dvae =
    {
        /// Number of words V.
        Vocabulary: int
        /// Length of a word's vector, which the decoder starts from.
        CodeWidth: int
        /// Channels of each of the decoder's stages, from the words' map to the pixels; each stage after the first doubles the size. For an
        /// encoder of stride 4 three, of stride 8 four.
        Decoder: int list
        /// Residual blocks of each stage.
        DecoderBlocks: int
        /// Batch norm of each word's logits over the positions of a batch, without shift, with one learned scale for all words: a guard
        /// against words that no patch uses.
        NormLogits: bool
        Pixels: DvaePixels
        /// τ of the relaxed draw at the start: the higher, the more words are mixed.
        Temperature: float
        /// τ after its decay.
        FinalTemperature: float
        /// Part of the training over which τ goes from the one to the other, along half a cosine.
        TemperatureDecay: float
        /// Weight of a word's divergence from the uniform distribution, in nats, beside the mean error of one value of a pixel.
        KlWeight: float
        /// Part of the training over which that weight rises from 0, along half a cosine.
        KlWarmup: float
    }

    /// The paper (appendix A): 8192 words, logit-Laplace, τ from 1 to 1/16 over 150,000 of 3,000,000 steps, divergence weighted 6.6 for each
    /// word against the sum over the 8·8·3 values of its patch, raised over 5,000 steps. The decoder's widths are those of the authors'
    /// published weights; it suits an encoder of stride 8.
    static member Default =
        {
            Vocabulary = 8192
            CodeWidth = 128
            Decoder = [ 2048; 1024; 512; 256 ]
            DecoderBlocks = 2
            NormLogits = false
            Pixels = DvaePixels.LogitLaplace
            Temperature = 1.
            FinalTemperature = 1. / 16.
            TemperatureDecay = 0.05
            KlWeight = 6.6 / 192.
            KlWarmup = 5_000. / 3_000_000.
        }

    /// The CPU-scale preset for images of 32 pixels and an encoder of stride 4, such as a ResNet of two stages with the 3×3 stride-2 stem: 256
    /// words, normalised logits, squared error. τ ends at 1/8 after three quarters of the training: a short one cannot average out what 1/16
    /// does to gradients. The weight of the divergence is far below what a nat buys in squared error, so that it spreads words without
    /// costing pixels. Meant for AdamW at about 1e-3 to 3e-3.
    static member CpuCifar =
        { Dvae.Default with
            Vocabulary = 256
            CodeWidth = 64
            Decoder = [ 64; 32; 16 ]
            DecoderBlocks = 1
            NormLogits = true
            Pixels = DvaePixels.SquaredError
            FinalTemperature = 1. / 8.
            TemperatureDecay = 0.75
            KlWeight = 0.002
            KlWarmup = 0.1
        }

    interface INamesPatches

    interface IMethod<OneView> with
        member m.Build context =
            let pixels =
                match m.Pixels with
                | DvaePixels.SquaredError -> PixelLikelihood.SquaredError
                | DvaePixels.LogitLaplace -> PixelLikelihood.LogitLaplace

            new SslResearch.Core.Methods.Dvae(
                context.Encoder,
                DvaeOptions(
                    m.Vocabulary,
                    m.CodeWidth,
                    List.toArray m.Decoder,
                    m.DecoderBlocks,
                    m.NormLogits,
                    pixels,
                    m.Temperature,
                    m.FinalTemperature,
                    m.TemperatureDecay,
                    m.KlWeight,
                    m.KlWarmup,
                    struct (context.Image.Channels, context.Image.Height, context.Image.Width),
                    List.toArray context.Normalisation.Mean,
                    List.toArray context.Normalisation.Std
                ),
                context.Device
            )

        member _.Card =
            {
                Name = "dVAE"
                Year = 2021
                Kind = Tokenizer
                Idea =
                    "name each patch by one word of a learned vocabulary such that the words alone give the image back"
                Views = "one view"
                Masking = "none"
                Negatives = "none"
                BatchSize =
                    "little without normalised logits; with them, a batch should hold several times as many patches as there are words"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation =
                    "err(D(Σ_v y_v e_v), x) + β·(ln V + Σ_v q_v ln q_v), q = softmax(l), y = softmax((l + g)/τ), g Gumbel noise; mean over values and over patches"
                Source = "Ramesh et al. 2021, appendix A"
                Differences =
                    [
                        "encoder and decoder are residual networks with batch norm; the authors' have none and scale their branches down instead"
                        "the encoder is any with a feature map; the authors' max-pools between its stages"
                        "the last convolution's weights start as PyTorch's do"
                        "normalised logits and squared error, in the CPU-scale preset, are ours"
                        "the scale of the logit-Laplace distribution is held between e⁻⁷ and e⁷"
                        "no moving average of the weights; the authors evaluate one"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            let widths = m.Decoder |> List.map string |> String.concat ", "

            [
                "vocabulary", string m.Vocabulary
                "code width", string m.CodeWidth
                "decoder", $"{widths}; {m.DecoderBlocks} blocks a stage"
                "logits", (if m.NormLogits then "normalised" else "as they are")
                "pixels",
                (match m.Pixels with
                 | DvaePixels.SquaredError -> "squared error"
                 | DvaePixels.LogitLaplace -> "logit-Laplace")
                "temperature",
                $"{Problem.number m.Temperature} to {Problem.number m.FinalTemperature} over {Problem.number m.TemperatureDecay}"
                "KL weight", $"{Problem.number m.KlWeight}, from 0 over {Problem.number m.KlWarmup}"
            ]

        member m.Problems =
            [
                yield! Problem.atLeast 2 "Vocabulary" m.Vocabulary
                yield! Problem.atLeast 1 "CodeWidth" m.CodeWidth

                if m.Decoder.IsEmpty then
                    Problem.make "Decoder" "no stages" "Give the channels of each, one more than there are doublings"

                for i, width in List.indexed m.Decoder do
                    yield! Problem.atLeast 1 $"Decoder[{i}]" width

                yield! Problem.atLeast 1 "DecoderBlocks" m.DecoderBlocks
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Problem.temperature "FinalTemperature" m.FinalTemperature
                yield! Problem.fraction "TemperatureDecay" m.TemperatureDecay
                yield! Problem.notNegative "KlWeight" m.KlWeight
                yield! Problem.fraction "KlWarmup" m.KlWarmup
            ]

    interface IMeasured<OneView> with
        /// On the whole test split, from hard words.
        member _.Measure(method, on) =
            use pixels =
                FeatureExtractor.Extract(
                    null,
                    Backbone.Output,
                    null,
                    on.Test,
                    Augmentation.channels on.Normalisation,
                    500,
                    torch.CPU,
                    on.Stop
                )

            let shape = on.Test.Shape

            use images =
                pixels.Features.view(-1L, int64 shape.Channels, int64 shape.Height, int64 shape.Width).``to``(on.Device)

            let struct (psnr, usage) = (method :?> SslResearch.Core.Methods.Dvae).Quality images
            [ "PSNR in dB", psnr; "words used in %", 100. * usage ]

    static member Entry =
        MethodEntry.make<OneView> Dvae.Default [ "default (paper)", Dvae.Default; "CPU-scale CIFAR-10", Dvae.CpuCifar ]

namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Chroma as bins on the ab plane.
type QuantisedColours =
    {
        /// Distance of the bins in units of ab.
        Step: int
        /// Nearest bins that a colour is encoded by.
        Neighbours: int
        /// Deviation of the encoding's Gaussian, in units of ab.
        Sigma: float
        /// λ of the rebalancing: rare colours weigh 1/((1−λ)·p + λ/Q). Above 0; 1 weights all alike.
        UniformShare: float
    }

/// Chroma as two values.
type RegressedColours =
    {
        /// a* and b* are predicted as scale·tanh: the largest that can be.
        Scale: float
        /// Error of a* or b* that costs 1. As the loss is squared, it sets how far a given learning rate goes.
        Unit: float
    }

/// What colorization predicts at each position.
[<RequireQualifiedAccess>]
type Colours =
    /// a* and b* as scale·tanh, by squared error.
    | Regression of RegressedColours
    /// Bins, by cross entropy.
    | Quantised of QuantisedColours

/// Zhang et al. 2016, "Colorful image colorization".
type Colorization =
    {
        Colours: Colours
        /// Channels after each doubling of the encoder's feature map. Together they must lead to the size of the chroma.
        Decoder: int list
    }

    /// The paper's quantisation: bins 10 apart, 5 neighbours, σ 5, λ 0.5 (sections 2.1 and 2.2). The decoder suits an encoder of
    /// stride 32 and chroma of stride 4, the paper's resolution.
    static member Default =
        {
            Colours =
                Colours.Quantised
                    {
                        Step = 10
                        Neighbours = 5
                        Sigma = 5.
                        UniformShare = 0.5
                    }
            Decoder = [ 256; 128; 64 ]
        }

    /// The documents' regression: tanh and squared error, on values divided by 128, for a* and b* reach beyond ±100.
    static member Documents =
        {
            Colours = Colours.Regression { Scale = 128.; Unit = 128. }
            Decoder = [ 128; 64; 32 ]
        }

    /// The CPU-scale preset for views of 24 pixels and chroma of stride 4 (6×6): the encoder's 3×3 map is doubled once.
    static member CpuCifar =
        { Colorization.Default with
            Decoder = [ 64 ]
        }

    /// The same with regression: the scale is what sRGB reaches, the unit about the deviation of photographs' colours, so that the loss
    /// starts near 1 and the learning rate of the other presets suits it.
    static member CpuCifarRegression =
        {
            Colours = Colours.Regression { Scale = 110.; Unit = 20. }
            Decoder = [ 64 ]
        }

    interface IMethod<LabView> with
        member m.Build context =
            let objective: ColourObjective =
                match m.Colours with
                | Colours.Regression r -> RegressionObjective(r.Scale, r.Unit)
                | Colours.Quantised q -> QuantisedObjective(q.Step, q.Neighbours, q.Sigma, q.UniformShare)

            new SslResearch.Core.Methods.Colorization(
                context.Encoder,
                ColorizationOptions(
                    List.toArray m.Decoder,
                    objective,
                    List.toArray context.Normalisation.Mean,
                    List.toArray context.Normalisation.Std
                ),
                context.Device
            )

        member _.Card =
            {
                Name = "colorization"
                Year = 2016
                Kind = Pretext
                Idea = "tell an image's colours from its lightness"
                Views = "lightness and chroma of one view"
                Masking = "colour"
                Negatives = "none"
                BatchSize = "little; the frequencies of colours settle sooner with larger batches"
                Teacher = "none"
                Evaluated =
                    "the encoder behind a fixed conversion of colour images to their lightness, so it never sees colour"
                Equation =
                    "bins: −Σ_q t_q log p_q, t the soft encoding of ab, weighted by the rarity of the nearest bin, weighted mean over positions; values: mean ((scale·tanh(y) − ab)/unit)²"
                Source = "Zhang et al. 2016"
                Differences =
                    [
                        "bins: those that an sRGB colour is nearest to, 261 at step 10; the paper's published list has 313"
                        "frequencies of colours: a running mean over the batches so far, part of the checkpoint; the paper counts ImageNet beforehand"
                        "mean over positions divided by the sum of the weights, where the paper sums"
                        "regression: the documents' tanh is scaled to the range of ab"
                    ]
            }

        member _.HasProjector = false

        member m.Facts =
            [
                match m.Colours with
                | Colours.Regression r ->
                    "colours", $"regression, scale {Problem.number r.Scale}, unit {Problem.number r.Unit}"
                | Colours.Quantised q ->
                    "colours",
                    $"bins {q.Step} apart, {q.Neighbours} neighbours σ {Problem.number q.Sigma}, λ {Problem.number q.UniformShare}"

                "decoder",
                (match m.Decoder with
                 | [] -> "linear"
                 | widths -> widths |> List.map string |> String.concat ", ")
            ]

        member m.Problems =
            [
                match m.Colours with
                | Colours.Regression r ->
                    yield! Problem.positive "Colours.Scale" r.Scale
                    yield! Problem.positive "Colours.Unit" r.Unit
                | Colours.Quantised q ->
                    yield! Problem.atLeast 1 "Colours.Step" q.Step
                    yield! Problem.atLeast 1 "Colours.Neighbours" q.Neighbours
                    yield! Problem.temperature "Colours.Sigma" q.Sigma

                    yield!
                        Problem.unless
                            (q.UniformShare > 0. && q.UniformShare <= 1.)
                            "Colours.UniformShare"
                            $"{Problem.number q.UniformShare}"
                            "Give a share above 0, at most 1"

                for i, width in List.indexed m.Decoder do
                    yield! Problem.atLeast 1 $"Decoder[{i}]" width
            ]

    static member Entry =
        MethodEntry.make<LabView>
            Colorization.Default
            [
                "default (paper)", Colorization.Default
                "regression (documents)", Colorization.Documents
                "CPU-scale CIFAR-10", Colorization.CpuCifar
                "CPU-scale CIFAR-10, regression", Colorization.CpuCifarRegression
            ]

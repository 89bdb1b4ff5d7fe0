namespace SslResearch

open SslResearch.Core.Training

/// Stochastic gradient descent with momentum.
type SgdRule =
    {
        Momentum: float
        Nesterov: bool
        WeightDecay: float
        /// Decay biases and normalisation parameters too.
        DecayNormAndBias: bool
    }

    /// PyTorch's form as the CIFAR recipes of SimCLR's successors use it: momentum 0.9, decay 5e-4 on everything.
    static member Default =
        {
            Momentum = 0.9
            Nesterov = false
            WeightDecay = 5e-4
            DecayNormAndBias = true
        }

/// Layer-wise adaptive rates around momentum SGD.
type LarsRule =
    {
        Momentum: float
        TrustCoefficient: float
        Epsilon: float
        /// The LARC form: the local rate is at most the global one.
        ClipRate: bool
        AdaptNormAndBias: bool
        WeightDecay: float
        DecayNormAndBias: bool
    }

    /// SimCLR, appendix B.6: momentum 0.9, decay 1e-6; trust coefficient 0.001 of You et al. 2017.
    static member Default =
        {
            Momentum = 0.9
            TrustCoefficient = 0.001
            Epsilon = 1e-8
            ClipRate = false
            AdaptNormAndBias = false
            WeightDecay = 1e-6
            DecayNormAndBias = false
        }

/// Adam with decoupled weight decay.
type AdamWRule =
    {
        Beta1: float
        Beta2: float
        Epsilon: float
        WeightDecay: float
        DecayNormAndBias: bool
    }

    /// Loshchilov and Hutter 2019, with PyTorch's values.
    static member Default =
        {
            Beta1 = 0.9
            Beta2 = 0.999
            Epsilon = 1e-8
            WeightDecay = 0.01
            DecayNormAndBias = false
        }

type Optimiser =
    | Sgd of SgdRule
    | Lars of LarsRule
    | AdamW of AdamWRule

/// The learning rate after warm-up.
[<RequireQualifiedAccess>]
type Rate =
    /// As it stands, whatever the batch size.
    | Fixed of rate: float
    /// For batches of 256 images; another batch size multiplies it by batch / 256 (Goyal et al. 2017).
    | LinearScaled of ratePer256: float

/// A training schedule: linear warm-up, then cosine to the final rate, both per step.
type Train =
    {
        Epochs: int
        BatchSize: int
        Optimiser: Optimiser
        Rate: Rate
        /// Part of all steps.
        WarmupFraction: float
        FinalRate: float
        /// Largest norm of the whole gradient.
        ClipNorm: float option
    }

    /// The CPU-scale preset: 10 epochs, batches of 256, SGD at 0.12, 5 % warm-up, cosine to 0.
    static member CpuScale =
        {
            Epochs = 10
            BatchSize = 256
            Optimiser = Sgd SgdRule.Default
            Rate = Rate.Fixed 0.12
            WarmupFraction = 0.05
            FinalRate = 0.
            ClipNorm = None
        }

[<RequireQualifiedAccess>]
module Train =
    /// The learning rate after warm-up.
    let peakRate (train: Train) =
        match train.Rate with
        | Rate.Fixed rate -> rate
        | Rate.LinearScaled rate -> rate * float train.BatchSize / 256.

    /// In words.
    let describeRate (train: Train) =
        match train.Rate with
        | Rate.Fixed rate -> Problem.number rate
        | Rate.LinearScaled rate -> $"{Problem.number rate} × {train.BatchSize}/256"

    /// In words.
    let describeOptimiser optimiser =
        let n = Problem.number

        match optimiser with
        | Sgd o -> $"SGD momentum {n o.Momentum}, weight decay {n o.WeightDecay}"
        | Lars o -> $"LARS momentum {n o.Momentum}, trust {n o.TrustCoefficient}, weight decay {n o.WeightDecay}"
        | AdamW o -> $"AdamW β {n o.Beta1}/{n o.Beta2}, weight decay {n o.WeightDecay}"

    let private optimiserProblems optimiser =
        let momentum where value =
            Problem.unless
                (value >= 0. && value < 1.)
                where
                (Problem.number value)
                "Give a value of at least 0 and below 1"

        match optimiser with
        | Sgd o -> momentum "Momentum" o.Momentum @ Problem.notNegative "WeightDecay" o.WeightDecay
        | Lars o ->
            [
                yield! momentum "Momentum" o.Momentum
                yield! Problem.positive "TrustCoefficient" o.TrustCoefficient
                yield! Problem.notNegative "Epsilon" o.Epsilon
                yield! Problem.notNegative "WeightDecay" o.WeightDecay
            ]
        | AdamW o ->
            [
                yield! momentum "Beta1" o.Beta1
                yield! momentum "Beta2" o.Beta2
                yield! Problem.positive "Epsilon" o.Epsilon
                yield! Problem.notNegative "WeightDecay" o.WeightDecay
            ]

    let problems (train: Train) =
        [
            yield! Problem.atLeast 0 "Epochs" train.Epochs
            yield! Problem.atLeast 2 "BatchSize" train.BatchSize
            yield! optimiserProblems train.Optimiser |> Problem.within "Optimiser"

            yield!
                match train.Rate with
                | Rate.Fixed rate
                | Rate.LinearScaled rate -> Problem.positive "Rate" rate

            yield! Problem.fraction "WarmupFraction" train.WarmupFraction
            yield! Problem.notNegative "FinalRate" train.FinalRate

            yield! train.ClipNorm |> Option.toList |> List.collect (Problem.positive "ClipNorm")
        ]

    /// The optimiser as the engine takes it.
    let optimiserOptions optimiser : OptimiserOptions =
        match optimiser with
        | Sgd o -> SgdOptions(o.Momentum, o.Nesterov, o.WeightDecay, o.DecayNormAndBias)
        | Lars o ->
            LarsOptions(
                o.Momentum,
                o.TrustCoefficient,
                o.Epsilon,
                o.ClipRate,
                o.AdaptNormAndBias,
                o.WeightDecay,
                o.DecayNormAndBias
            )
        | AdamW o -> AdamWOptions(o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay, o.DecayNormAndBias)

    /// Steps between reports: about 200 reports a training, a function of the experiment alone.
    let reportEvery (images: int) (train: Train) =
        max 1 (images / train.BatchSize * train.Epochs / 200)

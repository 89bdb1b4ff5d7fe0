namespace SslResearch

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

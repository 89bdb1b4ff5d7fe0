namespace SslResearch

open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Views

/// How Barlow Twins standardises each dimension over the batch.
type BarlowStandard =
    /// (z − μ)/√(σ² + 1e-5), biased variance: the authors' code, lightly, solo-learn.
    | BiasedDeviation
    /// (z − μ)/(σ + 1e-5), unbiased deviation: stable-pretraining.
    | UnbiasedDeviation

/// Zbontar et al. 2021, "Barlow Twins: self-supervised learning via redundancy reduction".
type BarlowTwins =
    {
        /// Weight of the terms off the diagonal.
        Lambda: float
        /// Factor of the whole loss, which grows with the length of the embedding.
        Scale: float
        Standard: BarlowStandard
        /// What follows the encoder.
        Projection: Projection
    }

    /// The paper (section 2.2): λ 0.005, three layers of 8192.
    static member Default =
        {
            Lambda = 0.005
            Scale = 1.
            Standard = BiasedDeviation
            Projection =
                Deep
                    {
                        Hidden = [ 8192; 8192 ]
                        Output = 8192
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    /// A hidden layer of 512 and 128 outputs for an encoder of 128 features; λ 0.02, chosen on held-out images (recipe search-cifar10-cpu).
    static member CpuCifar =
        { BarlowTwins.Default with
            Lambda = 0.02
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 128
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.BarlowTwins(
                context.Encoder,
                BarlowTwinsOptions(
                    m.Lambda,
                    m.Scale,
                    (match m.Standard with
                     | BiasedDeviation -> BarlowDeviation.Biased
                     | UnbiasedDeviation -> BarlowDeviation.Unbiased),
                    Projection.build context.Encoder m.Projection
                )
            )

        member _.Card =
            {
                Name = "Barlow Twins"
                Year = 2021
                Kind = RedundancyReduction
                Idea = "the cross-correlation of two views' dimensions is the identity"
                Views = "two views"
                Masking = "none"
                Negatives = "none"
                BatchSize = "correlations are estimated over the batch; the paper uses 2048 and works from 256"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation = "Σᵢ (1 − Cᵢᵢ)² + λ·Σᵢ Σ_{j≠i} Cᵢⱼ², C the cross-correlation of the two views over the batch"
                Source = "Zbontar et al. 2021"
                Differences =
                    [
                        "each view is a batch of its own, so batch statistics are per view, as in the authors' code, lightly and solo-learn"
                        "stable-pretraining standardises by the unbiased deviation (`Standard`)"
                        "solo-learn's CIFAR recipe takes a tenth of the loss (`Scale`)"
                        "the authors' last layer has no bias; ours has one without a norm after it, and the loss does not see it"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "λ", Problem.number m.Lambda
                "scale", Problem.number m.Scale
                "deviation",
                match m.Standard with
                | BiasedDeviation -> "biased"
                | UnbiasedDeviation -> "unbiased"
                "projection", Projection.describe m.Projection
            ]

        member m.Problems =
            [
                yield! Problem.notNegative "Lambda" m.Lambda
                yield! Problem.positive "Scale" m.Scale
                yield! Projection.problems m.Projection |> Problem.within "Projection"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            BarlowTwins.Default
            [
                "default (paper)", BarlowTwins.Default
                "CPU-scale CIFAR-10", BarlowTwins.CpuCifar
            ]

namespace SslResearch

open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Definitions that go by the name of VICReg; the same weights mean different losses.
[<RequireQualifiedAccess>]
type VicRegForm =
    /// The authors' code and lightly: the variance hinge averaged over the views, covariance Σ/d summed over them.
    | Original
    /// solo-learn: the variance hinge summed over the views, which doubles its weight.
    | SoloLearn
    /// VICRegL's global term: hinge and covariance both averaged over the views.
    | VicRegL
    /// eb_jepa: hinge summed, covariance as the mean over the d² − d places.
    | EbJepa

/// Bardes, Ponce and LeCun 2022, "VICReg: variance-invariance-covariance regularization for self-supervised learning".
type VicReg =
    {
        /// Weight of the mean squared difference of the views.
        Invariance: float
        /// Weight of the hinge that keeps each dimension's deviation at 1. 0 collapses.
        Variance: float
        /// Weight of the squared covariances between dimensions.
        Covariance: float
        Form: VicRegForm
        /// What follows the encoder.
        Projection: Projection
    }

    /// The paper (section 4.2): weights 25, 25, 1; three layers of 8192.
    static member Default =
        {
            Invariance = 25.
            Variance = 25.
            Covariance = 1.
            Form = VicRegForm.Original
            Projection =
                Deep
                    {
                        Hidden = [ 8192; 8192 ]
                        Output = 8192
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    /// Two layers of 512 for an encoder of 128 features; the paper's weights over 25, since plain SGD at the CPU-scale rate takes them
    /// (the authors use LARS).
    static member CpuCifar =
        { VicReg.Default with
            Invariance = 1.
            Variance = 1.
            Covariance = 0.04
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 512
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            let halved, covariance =
                match m.Form with
                | VicRegForm.Original -> true, VicRegCovariance.OverDimensions
                | VicRegForm.SoloLearn -> false, VicRegCovariance.OverDimensions
                | VicRegForm.VicRegL -> true, VicRegCovariance.OverDimensionsHalved
                | VicRegForm.EbJepa -> false, VicRegCovariance.Mean

            new SslResearch.Core.Methods.VicReg(
                context.Encoder,
                VicRegOptions(
                    VicRegTerms(m.Invariance, m.Variance, m.Covariance, halved, covariance),
                    Projection.build context.Encoder m.Projection
                )
            )

        member _.Card =
            {
                Name = "VICReg"
                Year = 2021
                Kind = RedundancyReduction
                Idea = "views agree, every dimension keeps its variance, dimensions do not covary"
                Views = "two views"
                Masking = "none"
                Negatives = "none"
                BatchSize =
                    "variances and covariances are estimated over the batch; the paper uses 2048 and works from 256"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation =
                    "25·mean (z₁ − z₂)² + 25·½Σ over views of mean max(0, 1 − √(σ² + 1e-4)) + Σ over views of Σ_{j≠i} Covᵢⱼ²/d"
                Source = "Bardes et al. 2022"
                Differences =
                    [
                        "each view is a batch of its own, so batch statistics are per view, as in the authors' code, lightly and solo-learn"
                        "solo-learn sums the variance hinge over the views, eb_jepa also takes the mean covariance, VICRegL halves both (`Form`)"
                        "the paper's eq. 6 sums the hinge; its authors' code, which gave the results, averages it, and so do we by default"
                        "the authors' last layer has no bias; ours has one without a norm after it, and the loss does not see it"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "weights",
                [ m.Invariance; m.Variance; m.Covariance ]
                |> List.map Problem.number
                |> String.concat "/"
                "form",
                match m.Form with
                | VicRegForm.Original -> "original"
                | VicRegForm.SoloLearn -> "solo-learn"
                | VicRegForm.VicRegL -> "VICRegL global"
                | VicRegForm.EbJepa -> "eb_jepa"
                "projection", Projection.describe m.Projection
            ]

        member m.Problems =
            [
                yield! Problem.notNegative "Invariance" m.Invariance
                yield! Problem.notNegative "Variance" m.Variance
                yield! Problem.notNegative "Covariance" m.Covariance
                yield! Projection.problems m.Projection |> Problem.within "Projection"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            VicReg.Default
            [ "default (paper)", VicReg.Default; "CPU-scale CIFAR-10", VicReg.CpuCifar ]

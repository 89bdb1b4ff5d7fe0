namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Chen and He 2021, "Exploring simple siamese representation learning".
type SimSiam =
    {
        /// What follows the encoder.
        Projection: Projection
        /// Width of the predictor's hidden layer (batch norm, ReLU); its output is always as long as the target.
        /// None: no predictor. Collapses then (the paper's table 1).
        Predictor: int option
        /// Whether targets are constants. False collapses (the paper's figure 2).
        StopGradient: bool
        /// Whether the predictor's learning rate stays at its peak while the others' decays (the paper's section 4.2).
        HoldPredictorRate: bool
    }

    /// The paper (section 3): three layers of 2048 with batch norm, the last one without scale and shift; predictor with a bottleneck
    /// of 512 and a held learning rate.
    static member Default =
        {
            Projection =
                Deep
                    {
                        Hidden = [ 2048; 2048 ]
                        Output = 2048
                        BatchNorm = true
                        OutputNorm = PlainNorm
                    }
            Predictor = Some 512
            StopGradient = true
            HoldPredictorRate = true
        }

    /// Two layers, as the paper has them for CIFAR-10 (appendix D), 512 wide for an encoder of 128 features; the bottleneck is a
    /// quarter of that, as in the paper.
    static member CpuCifar =
        { SimSiam.Default with
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 512
                        BatchNorm = true
                        OutputNorm = PlainNorm
                    }
            Predictor = Some 128
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.SimSiam(
                context.Encoder,
                SimSiamOptions(
                    Projection.build context.Encoder m.Projection,
                    Option.toNullable m.Predictor,
                    m.StopGradient,
                    m.HoldPredictorRate
                )
            )

        member _.Card =
            {
                Name = "SimSiam"
                Year = 2020
                Kind = SelfDistillation
                Idea = "from one view predict the other, which is taken as a constant"
                Views = "two views"
                Masking = "none"
                Negatives = "none"
                BatchSize =
                    "no negatives; the batch enters through batch norm alone. The paper works from 64 to 2048 and uses 256"
                Teacher = "none: the student itself, behind a stop-gradient"
                Evaluated = "the encoder"
                Equation = "½·D(q(z₁), stopgrad z₂) + ½·D(q(z₂), stopgrad z₁), D = mean −cos"
                Source = "Chen and He 2021"
                Differences =
                    [
                        "each view is a batch of its own, so batch statistics are per view, as in the authors' code, lightly and solo-learn"
                        "lightly's CIFAR benchmark has a two-layer projector and lets the predictor's learning rate decay"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "projection", Projection.describe m.Projection
                "predictor",
                match m.Predictor with
                | Some width when m.HoldPredictorRate -> $"MLP {width} BN, rate held"
                | Some width -> $"MLP {width} BN"
                | None -> "none"
                "stop-gradient", (if m.StopGradient then "yes" else "no")
            ]

        member m.Problems =
            [
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield! m.Predictor |> Option.toList |> List.collect (Problem.atLeast 1 "Predictor")
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            SimSiam.Default
            [ "default (paper)", SimSiam.Default; "CPU-scale CIFAR-10", SimSiam.CpuCifar ]

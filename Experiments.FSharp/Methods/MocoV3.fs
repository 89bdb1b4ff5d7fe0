namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Chen, Xie and He 2021, "An empirical study of training self-supervised vision transformers" (MoCo v3).
type MocoV3 =
    {
        Temperature: float
        /// Of the key networks at the first step: k ← m·k + (1−m)·q after each step.
        Momentum: float
        /// What the momentum rises to by half a cosine.
        FinalMomentum: float
        Projection: Projection
        /// What follows the projector for queries only; NoProjection leaves it out. Its output is as long as the projector's.
        Predictor: Projection
    }

    /// The paper's ResNet-50, with the values of the authors' code: temperature 1, momentum 0.99 rising to 1, hidden layers of 4096, 256 outputs,
    /// batch norm after every layer, after the last one without scale and shift.
    static member Default =
        let head =
            Deep
                {
                    Hidden = [ 4096 ]
                    Output = 256
                    BatchNorm = true
                    OutputNorm = PlainNorm
                }

        {
            Temperature = 1.
            Momentum = 0.99
            FinalMomentum = 1.
            Projection = head
            Predictor = head
        }

    /// The paper's Vision Transformers: temperature 0.2, a projector of three layers.
    static member Vit =
        { MocoV3.Default with
            Temperature = 0.2
            Projection =
                Deep
                    {
                        Hidden = [ 4096; 4096 ]
                        Output = 256
                        BatchNorm = true
                        OutputNorm = PlainNorm
                    }
        }

    /// At CPU scale: heads of 256 and 128, temperature 0.2 as solo-learn has it for CIFAR.
    static member CpuCifar =
        let head =
            Deep
                {
                    Hidden = [ 256 ]
                    Output = 128
                    BatchNorm = true
                    OutputNorm = PlainNorm
                }

        { MocoV3.Default with
            Temperature = 0.2
            Projection = head
            Predictor = head
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            let projector = Projection.build context.Encoder m.Projection
            let width = Projection.outputs context.Encoder.FeatureCount m.Projection

            new SslResearch.Core.Methods.MocoV3(
                context.Encoder,
                MocoV3Options(
                    m.Temperature,
                    (fun c -> MovingAverage.Rising(m.Momentum, m.FinalMomentum, c.Step, c.TotalSteps)),
                    projector,
                    Projection.head width m.Predictor
                )
            )

        member _.Card =
            {
                Name = "MoCo v3"
                Year = 2021
                Kind = Contrastive
                Idea =
                    "predictions for one view find the keys of the other, made by a slowly moving copy of the network, in the batch"
                Views = "two views"
                Masking = "none"
                Negatives = "in-batch"
                BatchSize = "more negatives with larger batches; the paper uses 4096"
                Teacher =
                    "key encoder and projector: moving averages of the parameters; batch-norm statistics are their own, from their own passes, not averaged"
                Evaluated = "the query encoder"
                Equation =
                    "2τ · Σ over (q₁, k₂), (q₂, k₁) of −log( exp(qᵢ·kᵢ/τ) / Σⱼ exp(qᵢ·kⱼ/τ) ), mean over the N queries of a direction"
                Source = "Chen, Xie and He 2021"
                Differences =
                    [
                        "the key networks are updated after the optimiser's step instead of before the next one's keys: the same sequence, the schedule of the momentum one step earlier"
                        "a predictor ends in a batch norm, as the paper says; solo-learn's for ResNets does not"
                        "a transformer's patch embedding is trained; the authors freeze it"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "temperature", Problem.number m.Temperature
                "momentum", $"{Problem.number m.Momentum} to {Problem.number m.FinalMomentum}"
                "projection", Projection.describe m.Projection
                "predictor", Projection.describe m.Predictor
            ]

        member m.Problems =
            [
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Problem.fraction "Momentum" m.Momentum
                yield! Problem.fraction "FinalMomentum" m.FinalMomentum
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield!
                    Projection.predictorProblems m.Projection m.Predictor
                    |> Problem.within "Predictor"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            MocoV3.Default
            [
                "default (paper)", MocoV3.Default
                "Vision Transformer (paper)", MocoV3.Vit
                "CPU-scale CIFAR-10", MocoV3.CpuCifar
            ]

namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Dwibedi et al. 2021, "With a little help from my friends: nearest-neighbor contrastive learning of visual representations" (NNCLR).
type NnClr =
    {
        /// Projections of earlier steps among which nearest neighbours are looked for; any number.
        QueueSize: int
        Temperature: float
        Projection: Projection
        /// What follows the projector; NoProjection leaves it out. Its output is as long as the projector's.
        Predictor: Projection
    }

    /// The paper, section 4.1: temperature 0.1, a queue of 98304, a projector 2048-2048-256 with batch norm after every layer, a predictor with a
    /// hidden layer of 4096.
    static member Default =
        {
            QueueSize = 98304
            Temperature = 0.1
            Projection =
                Deep
                    {
                        Hidden = [ 2048; 2048 ]
                        Output = 256
                        BatchNorm = true
                        OutputNorm = AffineNorm
                    }
            Predictor =
                Mlp
                    {
                        Hidden = Some 4096
                        Output = 256
                        BatchNorm = true
                    }
        }

    /// At CPU scale: a queue of 4096 as lightly has it for CIFAR-10, temperature 0.2 as solo-learn has it, heads of 256 and 128.
    static member CpuCifar =
        {
            QueueSize = 4096
            Temperature = 0.2
            Projection =
                Deep
                    {
                        Hidden = [ 256 ]
                        Output = 128
                        BatchNorm = true
                        OutputNorm = AffineNorm
                    }
            Predictor =
                Mlp
                    {
                        Hidden = Some 256
                        Output = 128
                        BatchNorm = true
                    }
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            let projector = Projection.build context.Encoder m.Projection
            let width = Projection.outputs context.Encoder.FeatureCount m.Projection

            new SslResearch.Core.Methods.NnClr(
                context.Encoder,
                NnClrOptions(m.QueueSize, m.Temperature, projector, Projection.head width m.Predictor),
                context.Seed,
                context.Device
            )

        member _.Card =
            {
                Name = "NNCLR"
                Year = 2021
                Kind = Contrastive
                Idea = "the positive of a view is its nearest neighbour among projections of earlier batches"
                Views = "two views"
                Masking = "none"
                Negatives = "in-batch"
                BatchSize = "more negatives with larger batches; the paper uses 4096"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation =
                    "½ Σ over (z₁, p₂), (z₂, p₁) of −log( exp(nnᵢ·pᵢ/τ) / Σⱼ exp(nnᵢ·pⱼ/τ) ), nnᵢ the vector of the queue nearest to zᵢ, mean over the N images"
                Source = "Dwibedi et al. 2021"
                Differences =
                    [
                        "candidates are the N predictions for the other view, as in the paper and solo-learn; lightly takes the neighbours as candidates too (NT-Xent)"
                        "any queue size and batch size: the queue wraps within a batch; solo-learn wants a multiple"
                        "the queue takes the first view's projections only, as the paper and solo-learn"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "queue", string m.QueueSize
                "temperature", Problem.number m.Temperature
                "projection", Projection.describe m.Projection
                "predictor", Projection.describe m.Predictor
            ]

        member m.Problems =
            [
                yield! Problem.atLeast 1 "QueueSize" m.QueueSize
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield!
                    Projection.predictorProblems m.Projection m.Predictor
                    |> Problem.within "Predictor"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            NnClr.Default
            [ "default (paper)", NnClr.Default; "CPU-scale CIFAR-10", NnClr.CpuCifar ]

namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Caron et al. 2020, "Unsupervised learning of visual features by contrasting cluster assignments".
type Swav =
    {
        /// τ of the predictions.
        Temperature: float
        /// ε of Sinkhorn: smaller makes sharper codes.
        Epsilon: float
        /// Iterations of Sinkhorn.
        Iterations: int
        /// What follows the encoder; its output is scaled to length 1.
        Projection: Projection
        /// Number of prototypes K.
        Prototypes: int
        /// Part of the training, from its start, for which prototypes stay as they are.
        FreezePrototypes: float
        /// Embeddings of earlier images, for each of the two large crops, that take part in Sinkhorn; 0 for none.
        QueueSize: int
        /// Part of the training after which they do.
        QueueStart: float
    }

    /// The paper: temperature 0.1, ε 0.05, 3 iterations, 3000 prototypes, head 2048, 128 (appendix A), no queue at its batch of
    /// 4096; prototypes frozen for the first of 100 epochs (defaults of the authors' main_swav.py).
    static member Default =
        {
            Temperature = 0.1
            Epsilon = 0.05
            Iterations = 3
            Projection =
                Mlp
                    {
                        Hidden = Some 2048
                        Output = 128
                        BatchNorm = true
                    }
            Prototypes = 3000
            FreezePrototypes = 0.01
            QueueSize = 0
            QueueStart = 0.15
        }

    /// The paper's small batches (256): a queue of 3840 from epoch 15 of 200, prototypes frozen for the first epoch (the authors'
    /// swav_200ep_bs256_pretrain.sh).
    static member SmallBatch =
        { Swav.Default with
            FreezePrototypes = 0.005
            QueueSize = 3840
            QueueStart = 0.075
        }

    /// The CPU-scale starting point: 512 prototypes, as lightly has for CIFAR-10; hidden layer of 256; no queue.
    static member CpuCifar =
        { Swav.Default with
            Projection =
                Mlp
                    {
                        Hidden = Some 256
                        Output = 128
                        BatchNorm = true
                    }
            Prototypes = 512
        }

    interface IMethod<MultiCrop> with
        member m.Build context =
            new SslResearch.Core.Methods.Swav(
                context.Encoder,
                SwavOptions(
                    m.Temperature,
                    m.Epsilon,
                    m.Iterations,
                    Projection.build context.Encoder m.Projection,
                    m.Prototypes,
                    m.FreezePrototypes,
                    m.QueueSize,
                    m.QueueStart
                ),
                context.Device
            )

        member _.Card =
            {
                Name = "SwAV"
                Year = 2020
                Kind = Clustering
                Idea =
                    "the cluster of one crop, with all clusters used equally, is predicted from the other crops of its image"
                Views = "two large crops and any number of small ones"
                Masking = "none"
                Negatives = "prototypes"
                BatchSize =
                    "codes need a batch that represents the prototypes; below some 256 images a queue helps; the paper uses 4096"
                Teacher = "none; codes come from the same networks, without gradient"
                Evaluated = "the encoder"
                Equation =
                    "−Σₖ qₖ log softmax(z·c/τ)ₖ, q = Sinkhorn(z′·c/ε), mean over the pairs of a large crop z′ and another crop z"
                Source = "Caron et al. 2020"
                Differences =
                    [
                        "prototypes start uniform on the sphere, and are scaled to length 1 after each update instead of before each pass (the same vectors in every pass)"
                        "while prototypes are frozen, their gradient is zero instead of absent: the optimiser's momentum and decay still see them, their directions stay"
                        "the queue is filled from the first step on, so that it is full when its start comes; the authors begin to fill it then"
                        "lightly's Sinkhorn leaves out a division by K; the codes are the same"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "temperature", Problem.number m.Temperature
                "epsilon", Problem.number m.Epsilon
                "iterations", string m.Iterations
                "projection", Projection.describe m.Projection
                "prototypes", string m.Prototypes
                "prototypes frozen", Problem.number m.FreezePrototypes
                "queue", (if m.QueueSize = 0 then "none" else string m.QueueSize)

                if m.QueueSize > 0 then
                    "queue start", Problem.number m.QueueStart
            ]

        member m.Problems =
            [
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Problem.temperature "Epsilon" m.Epsilon
                yield! Problem.atLeast 1 "Iterations" m.Iterations
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield! Problem.atLeast 2 "Prototypes" m.Prototypes
                yield! Problem.fraction "FreezePrototypes" m.FreezePrototypes
                yield! Problem.atLeast 0 "QueueSize" m.QueueSize
                yield! Problem.fraction "QueueStart" m.QueueStart
            ]

    static member Entry =
        MethodEntry.make<MultiCrop>
            Swav.Default
            [
                "default (paper)", Swav.Default
                "small batches (paper)", Swav.SmallBatch
                "CPU-scale CIFAR-10", Swav.CpuCifar
            ]

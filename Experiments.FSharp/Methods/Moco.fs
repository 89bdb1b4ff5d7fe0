namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Momentum contrast: He et al. 2020, "Momentum contrast for unsupervised visual representation learning" (v1), and Chen et al. 2020,
/// "Improved baselines with momentum contrastive learning" (v2). What tells v2's network from v1's is the MLP head, so the card says v2 where the
/// head is one, else v1; the rest of v2 is its temperature, and stronger augmentation, which is the experiment's.
type Moco =
    {
        /// Keys of earlier steps that serve as negatives; any number, it need not be a multiple of the batch.
        QueueSize: int
        /// Of the key networks: k ← m·k + (1−m)·q after each step. 0 makes them the query networks, 1 leaves them as they began.
        Momentum: float
        Temperature: float
        Projection: Projection
        /// Each view is query once and key once, and both views' keys enter the queue; false is the papers' loss, with one direction.
        Symmetric: bool
        /// Split batch norm: queries and keys pass the networks in this many chunks, each with its own statistics, as on so many GPUs.
        /// Chunks hold at least 2 images. 1 is a plain pass.
        NormSplits: int
        /// Shuffled batch norm (v1, section 3.3): keys are put into chunks in a random order of their own, so that a key does not share its
        /// statistics with its query. Without effect where NormSplits is 1: one chunk has the same statistics in any order.
        ShuffleKeys: bool
    }

    /// He et al. 2020, sections 3 and 4: K 65536, m 0.999, temperature 0.07, a linear head of 128; 8 GPUs with shuffled batch norm.
    static member V1 =
        {
            QueueSize = 65536
            Momentum = 0.999
            Temperature = 0.07
            Projection = LinearProjection 128
            Symmetric = false
            NormSplits = 8
            ShuffleKeys = true
        }

    /// Chen et al. 2020: v1 with a head of a hidden layer (2048 for ResNet-50, so as wide as the features) and ReLU, temperature 0.2.
    static member V2 =
        { Moco.V1 with
            Temperature = 0.2
            Projection =
                Mlp
                    {
                        Hidden = None
                        Output = 128
                        BatchNorm = false
                    }
        }

    /// Version 2.
    static member Default = Moco.V2

    /// v1 at CPU scale: K 4096, m 0.99, temperature 0.1 as in the authors' notebook for CIFAR-10, which also has a linear head of 128.
    static member CpuCifarV1 =
        { Moco.V1 with
            QueueSize = 4096
            Momentum = 0.99
            Temperature = 0.1
        }

    /// v2 at CPU scale: K 4096, m 0.99, temperature 0.2, a head of 256.
    static member CpuCifarV2 =
        { Moco.V2 with
            QueueSize = 4096
            Momentum = 0.99
            Projection =
                Mlp
                    {
                        Hidden = Some 256
                        Output = 128
                        BatchNorm = false
                    }
        }

    /// Version 2.
    static member CpuCifar = Moco.CpuCifarV2

    member private m.IsV2 =
        match m.Projection with
        | Mlp _
        | Deep _ -> true
        | NoProjection
        | LinearProjection _ -> false

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.Moco(
                context.Encoder,
                MocoOptions(
                    m.QueueSize,
                    m.Momentum,
                    m.Temperature,
                    Projection.build context.Encoder m.Projection,
                    m.Symmetric,
                    m.NormSplits,
                    m.ShuffleKeys
                ),
                context.Seed,
                context.Device
            )

        member m.Card =
            {
                Name = if m.IsV2 then "MoCo v2" else "MoCo v1"
                Year = 2020
                Kind = Contrastive
                Idea =
                    "a query finds its key, made by a slowly moving copy of the network, among a queue of keys of earlier batches"
                Views = "two views"
                Masking = "none"
                Negatives = $"queue ({m.QueueSize})"
                BatchSize =
                    "the number of negatives does not depend on it; the papers use 256, in 8 chunks for the batch norm"
                Teacher =
                    "key encoder and projector: moving averages of the parameters; batch-norm statistics are their own, from their own passes, not averaged"
                Evaluated = "the query encoder; its running statistics are updated by every chunk in turn"
                Equation = "−log( exp(q·k₊/τ) / (exp(q·k₊/τ) + Σ_{n ∈ queue} exp(q·n/τ)) ), mean over the N queries"
                Source = if m.IsV2 then "Chen et al. 2020b" else "He et al. 2020"
                Differences =
                    [
                        "any queue size and batch size: the queue wraps within a batch; facebookresearch/moco and solo-learn want a multiple"
                        "the key networks are updated after the optimiser's step instead of before the next one's keys: the same sequence"
                        "chunks of one device take the place of GPUs; running statistics see all chunks, in facebookresearch/moco those of the first GPU are kept"
                        "Symmetric averages its two directions and keeps one queue for both views' keys; the authors' notebook sums them, solo-learn keeps one queue a view, lightly's script enqueues between them"
                        "a linear head has no bias here"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "queue", string m.QueueSize
                "momentum", Problem.number m.Momentum
                "temperature", Problem.number m.Temperature
                "projection", Projection.describe m.Projection
                "symmetric", (if m.Symmetric then "yes" else "no")
                "norm splits", string m.NormSplits
                "shuffled keys", (if m.ShuffleKeys then "yes" else "no")
            ]

        member m.Problems =
            [
                yield! Problem.atLeast 1 "QueueSize" m.QueueSize
                yield! Problem.fraction "Momentum" m.Momentum
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield! Problem.atLeast 1 "NormSplits" m.NormSplits
            ]

    static member EntryV1 =
        MethodEntry.make<TwoViews> Moco.V1 [ "default (paper)", Moco.V1; "CPU-scale CIFAR-10", Moco.CpuCifarV1 ]

    static member EntryV2 =
        MethodEntry.make<TwoViews> Moco.V2 [ "default (paper)", Moco.V2; "CPU-scale CIFAR-10", Moco.CpuCifarV2 ]

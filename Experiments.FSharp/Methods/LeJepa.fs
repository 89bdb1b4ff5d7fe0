namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Balestriero and LeCun 2025, "LeJEPA: provable and scalable self-supervised learning without the heuristics", on two views.
type LeJepa =
    {
        /// SIGReg's share: (1 − λ)·invariance + λ·SIGReg. 0 collapses.
        Lambda: float
        /// Random directions, drawn anew at each step.
        Slices: int
        /// Points of SIGReg's integral.
        Knots: int
        /// Where SIGReg's integral ends.
        Limit: float
        /// What follows the encoder.
        Projection: Projection
    }

    /// λ 0.05; 17 knots from 0 to 3, 256 slices and a projector of 2048, 2048, 128 as in the authors' minimal example.
    static member Default =
        {
            Lambda = 0.05
            Slices = 256
            Knots = 17
            Limit = 3.
            Projection =
                Deep
                    {
                        Hidden = [ 2048; 2048 ]
                        Output = 128
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    /// One hidden layer of 512 and 64 outputs for an encoder of 128 features; λ 0.02, as stable-pretraining has it for Imagenette, chosen on
    /// held-out images (recipe search-cifar10-cpu).
    static member CpuCifar =
        { LeJepa.Default with
            Lambda = 0.02
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 64
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.LeJepa(
                context.Encoder,
                LeJepaOptions(m.Lambda, m.Slices, m.Knots, m.Limit, Projection.build context.Encoder m.Projection)
            )

        member _.Card =
            {
                Name = "LeJEPA"
                Year = 2025
                Kind = RedundancyReduction
                Idea = "views agree, and embeddings are normally distributed in every direction"
                Views = "two views"
                Masking = "none"
                Negatives = "none"
                BatchSize = "the distribution is tested over the batch; SIGReg's value grows with it"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation =
                    "(1 − λ)·mean (z_v − z̄)² + λ·mean over views and directions u of N·∫ |mean exp(it·uᵀz) − exp(−t²/2)|² exp(−t²/2) dt"
                Source = "Balestriero and LeCun 2025"
                Differences =
                    [
                        "batch statistics are shared by the views (one pass for both), as in the authors' minimal example"
                        "the test is made of each view by itself, as in the authors' minimal example and lightly; stable-pretraining also had it of all views at once"
                        "the paper adds local views; here there are two global ones"
                        "directions are a function of seed and step, the same on every device"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "λ", Problem.number m.Lambda
                "slices", string m.Slices
                "integral", $"{m.Knots} knots to {Problem.number m.Limit}"
                "projection", Projection.describe m.Projection
            ]

        member m.Problems =
            [
                yield! Problem.fraction "Lambda" m.Lambda
                yield! Problem.atLeast 1 "Slices" m.Slices
                yield! Problem.atLeast 2 "Knots" m.Knots
                yield! Problem.positive "Limit" m.Limit
                yield! Projection.problems m.Projection |> Problem.within "Projection"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            LeJepa.Default
            [ "default (paper)", LeJepa.Default; "CPU-scale CIFAR-10", LeJepa.CpuCifar ]

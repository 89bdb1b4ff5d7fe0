namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// How BYOL adds up its two directions. Gradients differ by the factor 4, so a learning rate belongs to one of them.
type ByolSum =
    /// Both directions of 2 − 2cos, summed: the paper, solo-learn.
    | SquaresSummed
    /// −cos, averaged over both directions: lightly's CIFAR benchmark.
    | CosinesAveraged

/// Grill et al. 2020, "Bootstrap your own latent: a new approach to self-supervised learning".
type Byol =
    {
        /// What follows the encoder, in student and teacher.
        Projection: Projection
        /// Width of the predictor's hidden layer (batch norm, ReLU); its output is always as long as the target.
        /// None: no predictor. Collapses then (the paper's table 5).
        Predictor: int option
        /// The teacher's momentum at the first step. 0 makes the teacher the student itself.
        StartMomentum: float
        /// What the momentum rises to by half a cosine; 1 stands still.
        FinalMomentum: float
        Sum: ByolSum
    }

    /// The paper (section 3.3): projector 4096 wide to 256, predictor 4096 wide, momentum 0.996 to 1, both directions summed.
    static member Default =
        {
            Projection =
                Deep
                    {
                        Hidden = [ 4096 ]
                        Output = 256
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
            Predictor = Some 4096
            StartMomentum = 0.996
            FinalMomentum = 1.
            Sum = SquaresSummed
        }

    /// Small heads for an encoder of 128 features and some 2000 steps: the teacher has to move faster (0.99, as CIFAR recipes of 1000
    /// epochs have it too).
    static member CpuCifar =
        { Byol.Default with
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 128
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
            Predictor = Some 512
            StartMomentum = 0.99
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.Byol(
                context.Encoder,
                ByolOptions(
                    Projection.build context.Encoder m.Projection,
                    Option.toNullable m.Predictor,
                    m.StartMomentum,
                    m.FinalMomentum,
                    match m.Sum with
                    | SquaresSummed -> ByolForm.SquaresSummed
                    | CosinesAveraged -> ByolForm.CosinesAveraged
                )
            )

        member _.Card =
            {
                Name = "BYOL"
                Year = 2020
                Kind = SelfDistillation
                Idea = "a student predicts from one view what a slowly moving teacher says of the other"
                Views = "two views"
                Masking = "none"
                Negatives = "none"
                BatchSize =
                    "no negatives; the batch enters through batch norm alone. The paper uses 4096 and loses little down to 256"
                Teacher =
                    "moving average of encoder and projector, momentum rising by half a cosine; its batch-norm buffers are its own, not averaged"
                Evaluated = "the student's encoder"
                Equation =
                    "Σ over both directions of mean 2 − 2·cos(q(zᵢ), stopgrad z′ⱼ), z from the student, z′ from the teacher"
                Source = "Grill et al. 2020"
                Differences =
                    [
                        "each view is a batch of its own, so batch statistics are per view, as in the paper and solo-learn"
                        "lightly's CIFAR benchmark averages −cos over the directions: a quarter of the gradient at the same learning rate (`Sum`)"
                    ]
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "projection", Projection.describe m.Projection
                "predictor",
                match m.Predictor with
                | Some width -> $"MLP {width} BN"
                | None -> "none"
                "momentum", $"{Problem.number m.StartMomentum} to {Problem.number m.FinalMomentum}"
                "loss",
                match m.Sum with
                | SquaresSummed -> "sum of 2 − 2cos"
                | CosinesAveraged -> "mean of −cos"
            ]

        member m.Problems =
            [
                yield! Projection.problems m.Projection |> Problem.within "Projection"
                yield! m.Predictor |> Option.toList |> List.collect (Problem.atLeast 1 "Predictor")
                yield! Problem.fraction "StartMomentum" m.StartMomentum
                yield! Problem.fraction "FinalMomentum" m.FinalMomentum
            ]

    static member Entry =
        MethodEntry.make<TwoViews> Byol.Default [ "default (paper)", Byol.Default; "CPU-scale CIFAR-10", Byol.CpuCifar ]

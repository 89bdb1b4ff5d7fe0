namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Chen et al. 2020, "A simple framework for contrastive learning of visual representations".
type SimClr =
    {
        Temperature: float
        Projection: Projection
    }

    /// The paper: temperature 0.5 (best for CIFAR-10, appendix B.9), hidden layer as wide as the encoder's features, 128 outputs
    /// (section 4.2), batch norm in the head as in the authors' code.
    static member Default =
        {
            Temperature = 0.5
            Projection =
                Mlp
                    {
                        Hidden = None
                        Output = 128
                        BatchNorm = true
                    }
        }

    /// The CPU-scale preset for 10 epochs of CIFAR-10: temperature 0.2, hidden layer of 256.
    static member CpuCifar =
        {
            Temperature = 0.2
            Projection =
                Mlp
                    {
                        Hidden = Some 256
                        Output = 128
                        BatchNorm = true
                    }
        }

    interface IMethod<TwoViews> with
        member m.Build context =
            new SslResearch.Core.Methods.SimClr(
                context.Encoder,
                SimClrOptions(m.Temperature, Projection.build context.Encoder m.Projection)
            )

        member _.Card =
            {
                Name = "SimCLR"
                Year = 2020
                Kind = Contrastive
                Idea = "two views of an image agree, views of others in the batch do not"
                Views = "two views"
                Masking = "none"
                Negatives = "in-batch"
                BatchSize = "more negatives with larger batches; the paper uses 4096"
                Teacher = "none"
                Evaluated = "the encoder"
                Equation = "−log( exp(sim(zᵢ, zⱼ)/τ) / Σ_{k≠i} exp(sim(zᵢ, zₖ)/τ) ), mean over the 2N views"
                Source = "Chen et al. 2020"
                Differences = []
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "temperature", Problem.number m.Temperature
                "projection", Projection.describe m.Projection
            ]

        member m.Problems =
            [
                yield! Problem.temperature "Temperature" m.Temperature
                yield! Projection.problems m.Projection |> Problem.within "Projection"
            ]

    static member Entry =
        MethodEntry.make<TwoViews>
            SimClr.Default
            [ "default (paper)", SimClr.Default; "CPU-scale CIFAR-10", SimClr.CpuCifar ]

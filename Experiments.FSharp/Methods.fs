namespace SslResearch

open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open TorchSharp

/// What a method is given when it is built for a run.
type MethodContext =
    {
        /// Stored images.
        Image: ImageShape
        /// Number of classes of the dataset.
        Classes: int
        /// The encoder; the method owns it from here on.
        Encoder: Backbone
        Seed: uint64
        Device: torch.Device
        BatchSize: int
    }

/// A method's line in the catalogue.
type MethodCard =
    {
        Name: string
        Year: int
        Idea: string
        Negatives: string
        Source: string
    }

/// A learning method as a value. A new one is a C# class, its loss, and one record with this interface.
type IMethod<'Views when 'Views: not struct and 'Views :> IViews> =
    /// What crosses into the engine. Initial weights are set afterwards, from the seed.
    abstract Build: MethodContext -> ISslMethod<'Views>

    abstract Card: MethodCard

    /// Whether there is a projection head whose output z can be scored.
    abstract HasProjector: bool

    /// Settings that tell one run from another in a table, by name.
    abstract Facts: (string * string) list

    abstract Problems: Problem list

/// Two linear layers with ReLU between.
type MlpProjection =
    {
        /// Width of the hidden layer; None makes it as wide as the encoder's features.
        Hidden: int option
        Output: int
        /// Batch norm before the ReLU; the hidden layer has no bias then.
        BatchNorm: bool
    }

/// What stands between the encoder and a contrastive loss.
type Projection =
    | NoProjection
    | LinearProjection of output: int
    | Mlp of MlpProjection

[<RequireQualifiedAccess>]
module Projection =
    let describe projection =
        match projection with
        | NoProjection -> "none"
        | LinearProjection output -> $"linear {output}"
        | Mlp o ->
            let hidden = o.Hidden |> Option.map string |> Option.defaultValue "d"
            let norm = if o.BatchNorm then " BN" else ""
            $"MLP {hidden}{norm}, {o.Output}"

    /// What crosses into the engine.
    let build (encoder: Backbone) projection : ProjectionOptions =
        match projection with
        | NoProjection -> SslResearch.Core.Models.NoProjection()
        | LinearProjection output -> SslResearch.Core.Models.LinearProjection(output, false)
        | Mlp o ->
            let hidden = o.Hidden |> Option.defaultValue encoder.FeatureCount

            SslResearch.Core.Models.MlpProjection(
                [| hidden |],
                o.Output,
                not o.BatchNorm,
                o.BatchNorm,
                true,
                OutputNorm.None
            )

    let problems projection =
        match projection with
        | NoProjection -> []
        | LinearProjection output -> Problem.atLeast 1 "output" output
        | Mlp o ->
            [
                yield! o.Hidden |> Option.toList |> List.collect (Problem.atLeast 1 "Hidden")
                yield! Problem.atLeast 1 "Output" o.Output
            ]

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
                Idea = "two views of an image agree, views of others in the batch do not"
                Negatives = "in-batch"
                Source = "Chen et al. 2020"
            }

        member m.HasProjector = m.Projection <> NoProjection

        member m.Facts =
            [
                "temperature", Problem.number m.Temperature
                "projection", Projection.describe m.Projection
            ]

        member m.Problems =
            [
                yield! Problem.positive "Temperature" m.Temperature
                yield! Projection.problems m.Projection |> Problem.within "Projection"
            ]

/// Cross-entropy on the labels: the baseline that uses what self-supervision must do without.
type Supervised =
    | Supervised

    interface IMethod<LabelledView> with
        member _.Build context =
            new SslResearch.Core.Methods.Supervised(context.Encoder, context.Classes)


        member _.Card =
            {
                Name = "supervised"
                Year = 0
                Idea = "cross-entropy on the labels"
                Negatives = "none"
                Source = "baseline"
            }

        member _.HasProjector = false
        member _.Facts = []
        member _.Problems = []

[<RequireQualifiedAccess>]
module Methods =
    /// What `sslr list` names; the one place where a method of this repository is registered.
    let catalogue: MethodCard list =
        [
            (SimClr.Default :> IMethod<TwoViews>).Card
            (Supervised :> IMethod<LabelledView>).Card
        ]

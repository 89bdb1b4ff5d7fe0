namespace SslResearch

open System
open System.Threading
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
        /// The last step of every view.
        Normalisation: Normalisation
        /// The encoder; the method owns it from here on.
        Encoder: Backbone
        Seed: uint64
        Device: torch.Device
        BatchSize: int
        /// The method of a run that this one builds on (see IUsesRuns), as that run trained it with the same seed. Whoever asks for
        /// it owns it.
        Trained: ITrainedRun -> IDisposable
    }

/// What kind of learning a method is.
type MethodKind =
    | Pretext
    | Contrastive
    | Clustering
    | SelfDistillation
    | RedundancyReduction
    | Masked
    | Predictive
    | Tokenizer
    | Baseline

[<RequireQualifiedAccess>]
module MethodKind =
    let describe kind =
        match kind with
        | Pretext -> "pretext task"
        | Contrastive -> "contrastive"
        | Clustering -> "contrastive clustering"
        | SelfDistillation -> "self-distillation"
        | RedundancyReduction -> "redundancy reduction"
        | Masked -> "masked prediction"
        | Predictive -> "prediction in time"
        | Tokenizer -> "tokenizer"
        | Baseline -> "baseline"

/// What the catalogue says of a method, in words.
type MethodCard =
    {
        Name: string
        Year: int
        Kind: MethodKind
        /// One clause.
        Idea: string
        /// The batch it learns from.
        Views: string
        /// What is hidden from it: "none", or how much.
        Masking: string
        /// What it tells images apart by: in-batch, queue, prototypes, none, …
        Negatives: string
        /// How results depend on the batch size.
        BatchSize: string
        /// Who the teacher is, if there is one, and what becomes of its batch-norm buffers.
        Teacher: string
        /// The network that is scored.
        Evaluated: string
        /// The loss, in one line of plain mathematics.
        Equation: string
        /// Paper.
        Source: string
        /// Where our definition differs from which other implementation.
        Differences: string list
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

/// A method that builds on results of other runs, which are trained first, with the same seed.
type IUsesRuns =
    abstract Runs: ITrainedRun list

/// A method whose trained engine names patches (`ITokenizer`), which other methods may take words from.
type INamesPatches = interface end

/// A method that hides patches from its encoder, which only a vision transformer takes.
type INeedsVisionTransformer = interface end

/// What a trained method is measured on.
type MeasureContext =
    {
        /// The test split of what it was trained on.
        Test: ImageStore
        Normalisation: Normalisation
        Device: torch.Device
        Stop: CancellationToken
    }

/// A method with figures of its own beside its encoder's scores (an error of prediction, the use of a codebook): stored with the run
/// and told under its tables.
type IMeasured<'Views when 'Views: not struct and 'Views :> IViews> =
    abstract Measure: method: ISslMethod<'Views> * on: MeasureContext -> (string * float) list

/// Two linear layers with ReLU between.
type MlpProjection =
    {
        /// Width of the hidden layer; None makes it as wide as the encoder's features.
        Hidden: int option
        Output: int
        /// Batch norm before the ReLU; the hidden layer has no bias then.
        BatchNorm: bool
    }

/// Normalisation of a head's output.
type HeadNorm =
    | NoNorm
    /// Batch norm with scale and shift.
    | AffineNorm
    /// Batch norm without scale and shift.
    | PlainNorm

/// Any number of linear layers with ReLU between.
type DeepProjection =
    {
        Hidden: int list
        Output: int
        /// Batch norm before each ReLU; hidden layers have no bias then.
        BatchNorm: bool
        /// Normalisation of the output; the last layer has a bias only without one.
        OutputNorm: HeadNorm
    }

/// What stands between the encoder and the loss.
type Projection =
    | NoProjection
    | LinearProjection of output: int
    | Mlp of MlpProjection
    | Deep of DeepProjection

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
        | Deep o ->
            let norm = if o.BatchNorm then " BN" else ""
            let hidden = o.Hidden |> List.map (fun w -> $"{w}{norm}, ") |> String.concat ""
            let last = if o.OutputNorm = NoNorm then "" else " BN"
            $"MLP {hidden}{o.Output}{last}"

    /// A head on vectors of this length, as the engine takes it.
    let head (inputs: int) projection : ProjectionOptions =
        match projection with
        | NoProjection -> SslResearch.Core.Models.NoProjection()
        | LinearProjection output -> SslResearch.Core.Models.LinearProjection(output, false)
        | Mlp o ->
            SslResearch.Core.Models.MlpProjection(
                [| o.Hidden |> Option.defaultValue inputs |],
                o.Output,
                not o.BatchNorm,
                o.BatchNorm,
                true,
                OutputNorm.None
            )
        | Deep o ->
            let norm =
                match o.OutputNorm with
                | NoNorm -> OutputNorm.None
                | AffineNorm -> OutputNorm.Affine
                | PlainNorm -> OutputNorm.Plain

            SslResearch.Core.Models.MlpProjection(
                List.toArray o.Hidden,
                o.Output,
                not o.BatchNorm,
                o.BatchNorm,
                (o.OutputNorm = NoNorm),
                norm
            )

    /// A head on the encoder's features, as the engine takes it.
    let build (encoder: Backbone) projection = head encoder.FeatureCount projection

    /// Length of what the head puts out, given what it takes in.
    let outputs (inputs: int) projection =
        match projection with
        | NoProjection -> inputs
        | LinearProjection output -> output
        | Mlp o -> o.Output
        | Deep o -> o.Output

    let problems projection =
        match projection with
        | NoProjection -> []
        | LinearProjection output -> Problem.atLeast 1 "output" output
        | Mlp o ->
            [
                yield! o.Hidden |> Option.toList |> List.collect (Problem.atLeast 1 "Hidden")
                yield! Problem.atLeast 1 "Output" o.Output
            ]
        | Deep o ->
            [
                for i, width in List.indexed o.Hidden do
                    yield! Problem.atLeast 1 $"Hidden[{i}]" width

                yield! Problem.atLeast 1 "Output" o.Output
            ]

    /// A predictor puts out vectors as long as the projection's.
    let predictorProblems projection predictor =
        [
            yield! problems predictor

            if projection <> NoProjection then
                let z = outputs 0 projection
                let p = outputs z predictor

                yield!
                    Problem.unless (p = z) "" $"{p} outputs for a projection of {z}" $"Give the predictor {z} outputs"
        ]

/// A method's place in the catalogue.
type MethodEntry =
    {
        Card: MethodCard
        /// Named settings with what they say of themselves.
        Presets: (string * (string * string) list) list
    }

[<RequireQualifiedAccess>]
module MethodEntry =
    /// From the method itself and its named settings.
    let make<'Views when 'Views: not struct and 'Views :> IViews>
        (method: IMethod<'Views>)
        (presets: (string * IMethod<'Views>) list)
        =
        {
            Card = method.Card
            Presets = [ for name, preset in presets -> name, preset.Facts ]
        }

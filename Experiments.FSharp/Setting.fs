namespace SslResearch

open SslResearch.Core.Models

/// The procedural dataset: rendered by our code, needs no download.
type ShapesData =
    {
        Train: int
        Test: int
        /// Side in pixels.
        Size: int
        Seed: uint64
    }

/// A dataset that was brought in by `sslr data import NAME SOURCE`.
type ImportedData =
    {
        Name: string
        Normalisation: Normalisation
    }

/// Images with a train and a test split.
type Data =
    | Shapes of ShapesData
    /// Imported under the name cifar10.
    | Cifar10
    /// Imported under the name cifar100.
    | Cifar100
    | Imported of ImportedData

[<RequireQualifiedAccess>]
module Data =
    /// An imported dataset with ImageNet's constants.
    let imported name =
        Imported
            {
                Name = name
                Normalisation =
                    {
                        Mean = [ 0.485; 0.456; 0.406 ]
                        Std = [ 0.229; 0.224; 0.225 ]
                    }
            }

    /// The name in the data root, and in tables.
    let name data =
        match data with
        | Shapes _ -> "shapes"
        | Cifar10 -> "cifar10"
        | Cifar100 -> "cifar100"
        | Imported o -> o.Name

    /// In words.
    let describe data =
        match data with
        | Shapes s -> $"Shapes {s.Size} px, {s.Train} train, {s.Test} test, seed {s.Seed}"
        | Cifar10 -> "CIFAR-10"
        | Cifar100 -> "CIFAR-100"
        | Imported o -> o.Name

    /// Means and deviations of the training split.
    let normalisation data =
        match data with
        | Shapes _ ->
            {
                Mean = [ 0.552; 0.518; 0.500 ]
                Std = [ 0.253; 0.238; 0.242 ]
            }
        | Cifar10 ->
            {
                Mean = [ 0.4914; 0.4822; 0.4465 ]
                Std = [ 0.2470; 0.2435; 0.2616 ]
            }
        | Cifar100 ->
            {
                Mean = [ 0.5071; 0.4865; 0.4409 ]
                Std = [ 0.2673; 0.2564; 0.2762 ]
            }
        | Imported o -> o.Normalisation

    /// Images of the training split, where the value says so without a look at the disk.
    let trainCount data =
        match data with
        | Shapes s -> Some s.Train
        | Cifar10
        | Cifar100 -> Some 50_000
        | Imported _ -> None

    let problems data =
        match data with
        | Shapes s ->
            [
                yield! Problem.atLeast 1 "Train" s.Train
                yield! Problem.atLeast 1 "Test" s.Test
                yield! Problem.atLeast 8 "Size" s.Size
            ]
        | Cifar10
        | Cifar100 -> []
        | Imported o ->
            [
                yield!
                    Problem.unless
                        (o.Name <> ""
                         && o.Name
                            |> Seq.forall (fun c -> System.Char.IsLetterOrDigit c || c = '-' || c = '_'))
                        "Name"
                        $"the dataset name '{o.Name}'"
                        "Use letters, digits, - and _"

                yield!
                    Problem.unless
                        (o.Normalisation.Mean.Length = o.Normalisation.Std.Length)
                        "Normalisation"
                        $"{o.Normalisation.Mean.Length} means and {o.Normalisation.Std.Length} deviations"
                        "Give one of each for every channel"

                for i, std in List.indexed o.Normalisation.Std do
                    yield! Problem.positive $"Normalisation.Std[{i}]" std
            ]

/// Stochastic gradient descent with momentum.
type SgdRule =
    {
        Momentum: float
        Nesterov: bool
        WeightDecay: float
        /// Decay biases and normalisation parameters too.
        DecayNormAndBias: bool
    }

    /// PyTorch's form as the CIFAR recipes of SimCLR's successors use it: momentum 0.9, decay 5e-4 on everything.
    static member Default =
        {
            Momentum = 0.9
            Nesterov = false
            WeightDecay = 5e-4
            DecayNormAndBias = true
        }

/// Layer-wise adaptive rates around momentum SGD.
type LarsRule =
    {
        Momentum: float
        TrustCoefficient: float
        Epsilon: float
        /// The LARC form: the local rate is at most the global one.
        ClipRate: bool
        AdaptNormAndBias: bool
        WeightDecay: float
        DecayNormAndBias: bool
    }

    /// SimCLR, appendix B.6: momentum 0.9, decay 1e-6; trust coefficient 0.001 of You et al. 2017.
    static member Default =
        {
            Momentum = 0.9
            TrustCoefficient = 0.001
            Epsilon = 1e-8
            ClipRate = false
            AdaptNormAndBias = false
            WeightDecay = 1e-6
            DecayNormAndBias = false
        }

/// Adam with decoupled weight decay.
type AdamWRule =
    {
        Beta1: float
        Beta2: float
        Epsilon: float
        WeightDecay: float
        DecayNormAndBias: bool
    }

    /// Loshchilov and Hutter 2019, with PyTorch's values.
    static member Default =
        {
            Beta1 = 0.9
            Beta2 = 0.999
            Epsilon = 1e-8
            WeightDecay = 0.01
            DecayNormAndBias = false
        }

type Optimiser =
    | Sgd of SgdRule
    | Lars of LarsRule
    | AdamW of AdamWRule

/// The learning rate after warm-up.
[<RequireQualifiedAccess>]
type Rate =
    /// As it stands, whatever the batch size.
    | Fixed of rate: float
    /// For batches of 256 images; another batch size multiplies it by batch / 256 (Goyal et al. 2017).
    | LinearScaled of ratePer256: float

/// A training schedule: linear warm-up, then cosine to the final rate, both per step.
type Train =
    {
        Epochs: int
        BatchSize: int
        Optimiser: Optimiser
        Rate: Rate
        /// Part of all steps.
        WarmupFraction: float
        FinalRate: float
        /// Largest norm of the whole gradient.
        ClipNorm: float option
    }

    /// The CPU-scale preset: 10 epochs, batches of 256, SGD at 0.12, 5 % warm-up, cosine to 0.
    static member CpuScale =
        {
            Epochs = 10
            BatchSize = 256
            Optimiser = Sgd SgdRule.Default
            Rate = Rate.Fixed 0.12
            WarmupFraction = 0.05
            FinalRate = 0.
            ClipNorm = None
        }

/// A linear classifier on frozen, standardised features, by full-batch L-BFGS with at most Epochs passes; L2 chosen on a
/// held-out part of the training split.
type ProbeOptions =
    {
        Epochs: int
        L2Grid: float list
        /// Part of the training split that chooses L2.
        HeldOut: float
    }

/// How a frozen encoder is scored. Without `At` on the encoder's output h.
type Protocol =
    /// Cosine neighbours weighted by exp(similarity / temperature) (Wu et al. 2018).
    | Knn of k: int * temperature: float
    /// Cosine neighbours, one vote each.
    | KnnVote of k: int
    | Probe of ProbeOptions
    /// On another layer: one of the encoder's, or "z" for the projection head's output.
    | At of layer: string * protocol: Protocol

[<AutoOpen>]
type ProtocolForms =
    /// A linear probe with the usual grid.
    static member LinearProbe(epochs: int, ?l2Grid: float list, ?heldOut: float) =
        Probe
            {
                Epochs = epochs
                L2Grid = defaultArg l2Grid [ 1e-5; 1e-4; 1e-3; 1e-2; 1e-1 ]
                HeldOut = defaultArg heldOut 0.1
            }

[<RequireQualifiedAccess>]
module Protocol =
    /// Layer name of the projection head's output.
    [<Literal>]
    let Projection = "z"

    /// Where the features come from.
    let layer protocol =
        match protocol with
        | At(layer, _) -> layer
        | _ -> Backbone.Output

    /// The protocol without its layer.
    let rec scoring protocol =
        match protocol with
        | At(_, inner) -> scoring inner
        | other -> other

    /// The heading of its column, and its name in stored scores: everything that tells two protocols apart.
    let name protocol =
        let n = Problem.number

        let score =
            match scoring protocol with
            | Knn(k, temperature) -> $"k-NN k={k} T={n temperature}"
            | KnnVote k -> $"k-NN k={k} vote"
            | Probe o ->
                let usual = LinearProbe o.Epochs = Probe o

                if usual then
                    $"linear {o.Epochs} ep"
                else
                    let grid = o.L2Grid |> List.map n |> String.concat ","
                    $"linear {o.Epochs} ep L2 {grid} held out {n o.HeldOut}"
            | At _ -> invalidOp "a scoring has no layer"

        match layer protocol with
        | Backbone.Output -> score
        | layer -> $"{score} on {layer}"

    /// For the lines under a table.
    let describe protocol =
        let n = Problem.number

        let score =
            match scoring protocol with
            | Knn(k, temperature) -> $"cosine, {k} neighbours weighted by exp(similarity / {n temperature})"
            | KnnVote k -> $"cosine, {k} neighbours, majority vote"
            | Probe o ->
                let grid = o.L2Grid |> List.map n |> String.concat ", "

                $"logistic regression on standardised features (full-batch L-BFGS, at most {o.Epochs} passes), L2 from {{{grid}}} chosen on {n (100. * o.HeldOut)} %% of the training split"
            | At _ -> invalidOp "a scoring has no layer"

        $"{name protocol}: {score}; frozen features of layer {layer protocol}, all training images without augmentation as the bank, accuracy on the test split"

    let problems protocol =
        [
            match protocol with
            | At(_, At _) -> Problem.make "" "a layer inside a layer" "Name one layer"
            | _ -> ()

            match scoring protocol with
            | Knn(k, temperature) ->
                yield! Problem.atLeast 1 "k" k
                yield! Problem.positive "temperature" temperature
            | KnnVote k -> yield! Problem.atLeast 1 "k" k
            | Probe o ->
                yield! Problem.atLeast 1 "Epochs" o.Epochs

                if o.L2Grid.IsEmpty then
                    Problem.make "L2Grid" "no values" "Give at least one"

                for i, l2 in List.indexed o.L2Grid do
                    yield! Problem.notNegative $"L2Grid[{i}]" l2

                yield!
                    Problem.unless
                        (o.HeldOut > 0. && o.HeldOut < 1.)
                        "HeldOut"
                        $"{Problem.number o.HeldOut} of the training split"
                        "Give a fraction between 0 and 1, without them"
            | At _ -> ()
        ]

/// An encoder's description. A new one is a record with this interface and a C# class.
type IBackbone =
    /// The network, on the CPU; its weights are set by whoever trains it.
    abstract Build: channels: int -> Backbone

    /// Layers that protocols can ask for, without building anything.
    abstract Layers: string list

    /// In words.
    abstract Describe: string

    abstract Problems: Problem list

/// First layers of a ResNet.
type ResNetStem =
    /// 7×7 stride 2 and max-pool.
    | ImageNetStem
    /// 3×3 stride 1, padding 1, no max-pool.
    | CifarStem
    /// 3×3 stride 2, no max-pool.
    | CifarStemStride2

type ResNetBlock =
    | Basic
    | Bottleneck

/// He et al. 2016.
type ResNet =
    {
        Block: ResNetBlock
        /// Blocks of each stage.
        Blocks: int list
        /// Channels of the first stage; each further stage doubles them.
        Width: int
        Stem: ResNetStem
    }

    interface IBackbone with
        member r.Build channels =
            let block =
                match r.Block with
                | Basic -> ResidualBlock.Basic
                | Bottleneck -> ResidualBlock.Bottleneck

            let stem =
                match r.Stem with
                | ImageNetStem -> Stem.Imagenet
                | CifarStem -> Stem.Cifar
                | CifarStemStride2 -> Stem.CifarStride2

            new SslResearch.Core.Models.ResNet(ResNetOptions(block, List.toArray r.Blocks, r.Width, stem, channels))

        member r.Layers =
            [
                "stem"

                for i in 1 .. r.Blocks.Length - 1 do
                    $"layer{i}"

                Backbone.Output
            ]

        member r.Describe =
            let block = if r.Block = Basic then "basic" else "bottleneck"

            let stem =
                match r.Stem with
                | ImageNetStem -> "ImageNet stem"
                | CifarStem -> "3×3 stem"
                | CifarStemStride2 -> "3×3 stride-2 stem"

            let blocks = r.Blocks |> List.map string |> String.concat "-"
            $"ResNet {block} {blocks}, width {r.Width}, {stem}"

        member r.Problems =
            [
                if r.Blocks.IsEmpty then
                    Problem.make "Blocks" "no stages" "Give the number of blocks of each stage"

                for i, blocks in List.indexed r.Blocks do
                    yield! Problem.atLeast 1 $"Blocks[{i}]" blocks

                yield! Problem.atLeast 1 "Width" r.Width
            ]

[<AutoOpen>]
module Backbones =
    /// With the CIFAR stem, as CIFAR papers use it.
    let ResNet18: IBackbone =
        {
            Block = Basic
            Blocks = [ 2; 2; 2; 2 ]
            Width = 64
            Stem = CifarStem
        }

    /// With the CIFAR stem.
    let ResNet50: IBackbone =
        {
            Block = Bottleneck
            Blocks = [ 3; 4; 6; 3 ]
            Width = 64
            Stem = CifarStem
        }

    /// The CPU-scale encoder: three stages of one basic block, widths 32, 64, 128, 3×3 stride-2 stem; 0.31 M parameters.
    let SmallResNet: IBackbone =
        {
            Block = Basic
            Blocks = [ 1; 1; 1 ]
            Width = 32
            Stem = CifarStemStride2
        }

/// What a fair comparison holds fixed.
type Setting =
    {
        Data: Data
        Backbone: IBackbone
        Train: Train
        Protocols: Protocol list
        Seeds: int list
    }

[<RequireQualifiedAccess>]
module Setting =
    /// The learning rate after warm-up.
    let peakRate (train: Train) =
        match train.Rate with
        | Rate.Fixed rate -> rate
        | Rate.LinearScaled rate -> rate * float train.BatchSize / 256.

    /// In words.
    let describeRate (train: Train) =
        match train.Rate with
        | Rate.Fixed rate -> Problem.number rate
        | Rate.LinearScaled rate -> $"{Problem.number rate} × {train.BatchSize}/256"

    /// In words.
    let describeOptimiser optimiser =
        let n = Problem.number

        match optimiser with
        | Sgd o -> $"SGD momentum {n o.Momentum}, weight decay {n o.WeightDecay}"
        | Lars o -> $"LARS momentum {n o.Momentum}, trust {n o.TrustCoefficient}, weight decay {n o.WeightDecay}"
        | AdamW o -> $"AdamW β {n o.Beta1}/{n o.Beta2}, weight decay {n o.WeightDecay}"

    let private optimiserProblems optimiser =
        let momentum where value =
            Problem.unless
                (value >= 0. && value < 1.)
                where
                (Problem.number value)
                "Give a value of at least 0 and below 1"

        match optimiser with
        | Sgd o -> momentum "Momentum" o.Momentum @ Problem.notNegative "WeightDecay" o.WeightDecay
        | Lars o ->
            [
                yield! momentum "Momentum" o.Momentum
                yield! Problem.positive "TrustCoefficient" o.TrustCoefficient
                yield! Problem.notNegative "Epsilon" o.Epsilon
                yield! Problem.notNegative "WeightDecay" o.WeightDecay
            ]
        | AdamW o ->
            [
                yield! momentum "Beta1" o.Beta1
                yield! momentum "Beta2" o.Beta2
                yield! Problem.positive "Epsilon" o.Epsilon
                yield! Problem.notNegative "WeightDecay" o.WeightDecay
            ]

    let trainProblems (train: Train) =
        [
            yield! Problem.atLeast 0 "Epochs" train.Epochs
            yield! Problem.atLeast 2 "BatchSize" train.BatchSize
            yield! optimiserProblems train.Optimiser |> Problem.within "Optimiser"

            yield!
                match train.Rate with
                | Rate.Fixed rate
                | Rate.LinearScaled rate -> Problem.positive "Rate" rate

            yield! Problem.fraction "WarmupFraction" train.WarmupFraction
            yield! Problem.notNegative "FinalRate" train.FinalRate

            yield! train.ClipNorm |> Option.toList |> List.collect (Problem.positive "ClipNorm")
        ]

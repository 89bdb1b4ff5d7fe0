namespace SslResearch

open SslResearch.Core.Models

/// A linear classifier on frozen, standardised features, by full-batch L-BFGS with at most Epochs passes; L2 chosen on a
/// held-out part of the training split.
type ProbeOptions =
    {
        Epochs: int
        L2Grid: float list
        /// Part of the training split that chooses L2.
        HeldOut: float
    }

/// A linear classifier on frozen, standardised features at its optimum; L2 chosen on a held-out part of the training split.
type LogisticOptions =
    {
        /// Part of the training split that chooses L2.
        HeldOut: float
    }

/// The whole encoder with a new linear classifier, trained on the labels of the training split from where the run left it.
type FineTuneOptions =
    {
        Train: Train
        /// Of the training images; the test images are taken as they are.
        Augment: Op list
    }

/// How an encoder is scored: frozen, but for fine-tuning. Without `At` on the encoder's output h.
type Protocol =
    /// Cosine neighbours weighted by exp(similarity / temperature) (Wu et al. 2018).
    | Knn of k: int * temperature: float
    /// Cosine neighbours, one vote each.
    | KnnVote of k: int
    | Probe of ProbeOptions
    | Logistic of LogisticOptions
    | Tuned of FineTuneOptions
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

    /// Logistic regression to the optimum, its penalty chosen on a tenth of the training split.
    static member LogisticProbe(?heldOut: float) =
        Logistic { HeldOut = defaultArg heldOut 0.1 }

    /// Fine-tuning at CPU scale: batches of 128, AdamW with decay 0.05, a tenth of the steps warm-up, cosine to 0, crops of at least
    /// half of the image and flips.
    static member FineTune(epochs: int, ?rate: float, ?augment: Op list) =
        Tuned
            {
                Train =
                    {
                        Epochs = epochs
                        BatchSize = 128
                        Optimiser =
                            AdamW
                                { AdamWRule.Default with
                                    WeightDecay = 0.05
                                }
                        Rate = Rate.Fixed(defaultArg rate 1e-3)
                        WarmupFraction = 0.1
                        FinalRate = 0.
                        ClipNorm = None
                    }
                Augment = defaultArg augment [ ResizedCrop(0.5, 1.0); Flip 0.5 ]
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

    let private trainText (train: Train) =
        let clip =
            train.ClipNorm
            |> Option.map (fun norm -> $", gradient clipped at {Problem.number norm}")
            |> Option.defaultValue ""

        $"{train.Epochs} ep, batch {train.BatchSize}, {Train.describeOptimiser train.Optimiser}, rate {Train.describeRate train}, warm-up {Problem.number train.WarmupFraction}, final rate {Problem.number train.FinalRate}{clip}"

    let private opsText (ops: Op list) =
        match ops with
        | [] -> "no augmentation"
        | ops -> ops |> List.map Op.describe |> String.concat ", "

    /// Whether the encoder itself is trained for the score.
    let trainsEncoder protocol =
        match scoring protocol with
        | Tuned _ -> true
        | _ -> false

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
            | Logistic o ->
                if LogisticProbe() = Logistic o then
                    "logistic regression"
                else
                    $"logistic regression held out {n o.HeldOut}"
            | Tuned o ->
                if FineTune o.Train.Epochs = Tuned o then
                    $"fine-tuned {o.Train.Epochs} ep"
                else
                    $"fine-tuned {trainText o.Train}, {opsText o.Augment}"
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
            | Logistic o ->
                $"on standardised features, at the optimum of the penalised loss (L-BFGS until the gradient ends it), L2 a power of ten from 1E-08 to 100 chosen on {n (100. * o.HeldOut)} %% of the training split"
            | Tuned o ->
                $"the encoder with a new linear classifier, both trained on the labels: {trainText o.Train}; {opsText o.Augment}"
            | At _ -> invalidOp "a scoring has no layer"

        match scoring protocol with
        | Tuned _ -> $"{name protocol}: {score}; accuracy on the test split"
        | _ ->
            $"{name protocol}: {score}; frozen features of layer {layer protocol}, all training images without augmentation as the bank, accuracy on the test split"

    let private heldOutProblems (part: float) =
        Problem.unless
            (part > 0. && part < 1.)
            "HeldOut"
            $"{Problem.number part} of the training split"
            "Give a fraction between 0 and 1, without them"

    let problems protocol =
        [
            match protocol with
            | At(_, At _) -> Problem.make "" "a layer inside a layer" "Name one layer"
            | At(_, Tuned _) ->
                Problem.make "" "fine-tuning on a layer" "Fine-tune without At: the whole encoder learns"
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

                yield! heldOutProblems o.HeldOut
            | Logistic o -> yield! heldOutProblems o.HeldOut
            | Tuned o ->
                yield! Train.problems o.Train |> Problem.within "Train"

                for i, op in List.indexed o.Augment do
                    yield! Op.problems op |> Problem.within $"Augment[{i}] {Op.name op}"
            | At _ -> ()
        ]

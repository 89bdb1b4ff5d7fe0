namespace SslResearch

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

namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// Two views of each image, each with its own operations.
type TwoViewsOf =
    {
        First: Op list
        Second: Op list
    }

    interface IAugmentation<TwoViews> with
        member a.Build(source, normalisation) =
            let pipeline = Augmentation.pipeline source normalisation
            TwoViewAugmenter(pipeline a.First, pipeline a.Second)

        member a.Views = [ "first view", a.First; "second view", a.Second ]

        member _.Facts = []

        member _.WithViews views =
            match views with
            | [ first; second ] -> { First = first; Second = second }
            | _ -> invalidArg (nameof views) $"expected 2 lists of operations, received {views.Length}"

[<AutoOpen>]
module TwoViewsForms =
    /// Two views by the same operations.
    let twoViews (ops: Op list) : IAugmentation<TwoViews> = { First = ops; Second = ops }

    /// Two views by different operations.
    let twoViewsOf (first: Op list) (second: Op list) : IAugmentation<TwoViews> = { First = first; Second = second }

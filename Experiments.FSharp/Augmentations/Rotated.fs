namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One square view of each image in its four orientations.
type Rotated =
    {
        Ops: Op list
    }

    interface IAugmentation<RotatedView> with
        member a.Build(source, normalisation) =
            RotatedAugmenter(Augmentation.pipeline source normalisation a.Ops)

        member a.Views = [ "view", a.Ops ]

        member _.Facts = []

        member _.WithViews views =
            match views with
            | [ ops ] -> { Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

[<AutoOpen>]
module RotatedForms =
    /// One square view, then turned by 0, 90, 180 and 270 degrees.
    let rotated (ops: Op list) : IAugmentation<RotatedView> = { Rotated.Ops = ops }

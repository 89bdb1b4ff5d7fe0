namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One view of each image.
type OneViewOf =
    {
        Ops: Op list
    }

    interface IAugmentation<OneView> with
        member a.Build(source, normalisation) =
            OneViewAugmenter(Augmentation.pipeline source normalisation a.Ops)

        member a.Views = [ "view", a.Ops ]

        member _.Facts = []

        member _.WithViews views =
            match views with
            | [ ops ] -> { Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

[<AutoOpen>]
module OneViewForms =
    /// One view of each image.
    let oneView (ops: Op list) : IAugmentation<OneView> = { Ops = ops }

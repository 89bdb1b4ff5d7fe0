namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One view of each image, with its label.
type Labelled =
    {
        Ops: Op list
    }

    interface IAugmentation<LabelledView> with
        member a.Build(source, normalisation) =
            LabelledAugmenter(Augmentation.pipeline source normalisation a.Ops)

        member a.Views = [ "view", a.Ops ]

        member _.Facts = []

        member _.WithViews views =
            match views with
            | [ ops ] -> { Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

[<AutoOpen>]
module LabelledForms =
    /// One view with its label, for supervised training.
    let labelled (ops: Op list) : IAugmentation<LabelledView> = { Ops = ops }

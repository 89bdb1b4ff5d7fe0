namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// Two large crops of each image, each with its own operations, and any number of small ones that share theirs.
type MultiCropOf =
    {
        First: Op list
        Second: Op list
        Local: Op list
        /// Small crops of each image; with 0 the large ones are all there is.
        LocalCount: int
    }

    interface IAugmentation<MultiCrop> with
        member a.Build(source, normalisation) =
            let pipeline = Augmentation.pipeline source normalisation
            let local = if a.LocalCount = 0 then null else pipeline a.Local
            MultiCropAugmenter(pipeline a.First, pipeline a.Second, local, a.LocalCount)

        member a.Views =
            [
                "first global", a.First
                "second global", a.Second

                if a.LocalCount > 0 then
                    "local", a.Local
            ]

        member a.Facts = [ "small crops", string a.LocalCount ]

        member a.WithViews views =
            match views with
            | [ first; second ] when a.LocalCount = 0 ->
                { a with
                    First = first
                    Second = second
                }
            | [ first; second; local ] when a.LocalCount > 0 ->
                { a with
                    First = first
                    Second = second
                    Local = local
                }
            | _ ->
                let expected = if a.LocalCount > 0 then 3 else 2
                invalidArg (nameof views) $"expected {expected} lists of operations, received {views.Length}"

[<AutoOpen>]
module MultiCropForms =
    /// Two large crops by different operations, and `count` small ones.
    let multiCropOf (first: Op list) (second: Op list) (local: Op list) (count: int) : IAugmentation<MultiCrop> =
        {
            First = first
            Second = second
            Local = if count = 0 then [] else local
            LocalCount = count
        }

    /// Two large crops by the same operations, and `count` small ones by others.
    let multiCrop (globalOps: Op list) (localOps: Op list) (count: int) =
        multiCropOf globalOps globalOps localOps count

namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One view of each image that hides some of its patches.
type Masked =
    {
        /// Side of a patch in pixels: that of the encoder.
        Patch: int
        /// Share of the patches that is hidden.
        Ratio: float
        Shape: MaskShape
        Ops: Op list
    }

    interface IAugmentation<MaskedView> with
        member a.Build(source, normalisation) =
            MaskedAugmenter(Augmentation.pipeline source normalisation a.Ops, a.Patch, a.Ratio, MaskShape.build a.Shape)

        member a.Views = [ "view", a.Ops ]

        member a.Facts = [ "masked", Problem.number a.Ratio; "mask", MaskShape.describe a.Shape ]

        member a.WithViews views =
            match views with
            | [ ops ] -> { a with Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

    interface IPatched with
        member a.Patch = a.Patch

[<AutoOpen>]
module MaskedForms =
    /// Single patches hidden anywhere: `masked 4 0.75 ops` hides three quarters of the patches of 4 pixels.
    let masked (patch: int) (ratio: float) (ops: Op list) : IAugmentation<MaskedView> =
        {
            Patch = patch
            Ratio = ratio
            Shape = Scattered 1
            Ops = ops
        }

    /// Blocks of at least `minBlock` patches, of BEiT's ratios.
    let maskedBlocks (patch: int) (ratio: float) (minBlock: int) (ops: Op list) : IAugmentation<MaskedView> =
        {
            Patch = patch
            Ratio = ratio
            Shape = Blockwise(minBlock, 0.3)
            Ops = ops
        }

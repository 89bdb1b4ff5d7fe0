namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One view of each image, cut into a 3×3 grid of patches. A cell's side is a third of the view less the gaps.
type Patches =
    {
        Ops: Op list
        /// Side of a patch in pixels, at most a cell's.
        Size: int
        /// Pixels between neighbouring cells: no two patches lie closer, so that edges do not continue from one to the next.
        Gap: int
        /// Cut each patch at a random place of its cell; false cuts it from the centre.
        Jitter: bool
        /// Give every channel of every patch mean 0 and deviation 1, so that brightness does not tell patches apart.
        PerPatchNormalisation: bool
    }

    interface IAugmentation<PatchGrid> with
        member a.Build(source, normalisation) =
            PatchAugmenter(
                Augmentation.pipeline source normalisation a.Ops,
                PatchGridOptions(a.Size, a.Gap, a.Jitter, a.PerPatchNormalisation)
            )

        member a.Views = [ "view", a.Ops ]

        member a.Facts =
            let jitter = if a.Jitter then ", placed at random" else ""
            let norm = if a.PerPatchNormalisation then ", each normalised" else ""
            [ "patches", $"{a.Size} px, {a.Gap} apart{jitter}{norm}" ]

        member a.WithViews views =
            match views with
            | [ ops ] -> { a with Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

[<AutoOpen>]
module PatchesForms =
    /// Patches of this side with at least this gap between them, placed at random in their cells, each normalised by itself.
    /// Noroozi and Favaro 2016, section 3.2: views of 225 pixels, patches of 64 in cells of 75 without a further gap.
    let patches (size: int) (gap: int) (ops: Op list) : IAugmentation<PatchGrid> =
        {
            Ops = ops
            Size = size
            Gap = gap
            Jitter = true
            PerPatchNormalisation = true
        }

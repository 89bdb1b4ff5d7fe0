namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// One view of each image as lightness and chroma (CIE Lab, D65). Jitter and gray are possible, but spoil what is to be predicted.
type Lab =
    {
        Ops: Op list
        /// Side of the blocks of pixels whose mean a* and b* are predicted; 1 for every pixel. Divides the view's side.
        ChromaStride: int
    }

    interface IAugmentation<LabView> with
        member a.Build(source, normalisation) =
            LabAugmenter(Augmentation.pipeline source normalisation a.Ops, a.ChromaStride)

        member a.Views = [ "view", a.Ops ]

        member a.Facts = [ "chroma stride", string a.ChromaStride ]

        member a.WithViews views =
            match views with
            | [ ops ] -> { a with Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

[<AutoOpen>]
module LabForms =
    /// One view as lightness at full size and chroma as the mean over blocks of this side (Zhang et al. 2016: 4).
    let lab (chromaStride: int) (ops: Op list) : IAugmentation<LabView> =
        {
            Ops = ops
            ChromaStride = chromaStride
        }

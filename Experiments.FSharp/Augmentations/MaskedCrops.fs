namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// Crops whose large ones hide patches from a student.
type MaskedCropsOf =
    {
        Crops: IAugmentation<MultiCrop>
        /// Side of a patch in pixels: the encoder's.
        Patch: int
        /// That a large crop hides patches at all.
        Probability: float
        /// Least part of the patches that such a crop hides; the part is drawn uniformly.
        MinShare: float
        /// Largest part.
        MaxShare: float
        Shape: MaskShape
    }

    interface IAugmentation<MaskedCrops> with
        member a.Build(source, normalisation) =
            MaskedCropsAugmenter(
                a.Crops.Build(source, normalisation),
                CropMaskOptions(a.Patch, a.Probability, a.MinShare, a.MaxShare, MaskShape.build a.Shape)
            )

        member a.Views = a.Crops.Views

        member a.Facts =
            let n = Problem.number

            a.Crops.Facts
            @ [
                "masks", $"p {n a.Probability}, {n a.MinShare}–{n a.MaxShare} of patches of {a.Patch} px"
                "mask", MaskShape.describe a.Shape
            ]

        member a.WithViews views =
            { a with
                Crops = a.Crops.WithViews views
            }

    interface IPatched with
        member a.Patch = a.Patch

[<AutoOpen>]
module MaskedCropsForms =
    /// Crops whose large ones hide patches of this side with probability 0.5, then 10 to 50 % of them in blocks of 4 or more (DINOv2's
    /// configuration and code; iBOT's published models hide as much).
    let maskedCrops (patch: int) (crops: IAugmentation<MultiCrop>) : IAugmentation<MaskedCrops> =
        {
            Crops = crops
            Patch = patch
            Probability = 0.5
            MinShare = 0.1
            MaxShare = 0.5
            Shape = Blockwise(4, 0.3)
        }

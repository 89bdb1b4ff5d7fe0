namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Methods

/// Pictures of what trained methods predict.
[<RequireQualifiedAccess>]
module Pictures =
    /// Draws the first images of a store into a PNG, whole or not at all.
    let write
        (path: string)
        (run: Run)
        (seed: int)
        (normalisation: Normalisation)
        (picture: ImageStore -> MethodPicture)
        (images: ImageStore)
        =
        let drawn = picture images
        use _ = drawn.Images

        PictureSheet.Write(
            path,
            $"{run.Title}, seed {seed}, {Data.name run.TrainData}, test split",
            drawn.Columns,
            drawn.Images,
            Augmentation.channels normalisation
        )

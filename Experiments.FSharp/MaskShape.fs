namespace SslResearch

open SslResearch.Core.Augment

/// The shapes that hidden patches form.
type MaskShape =
    /// Squares of `unit` patches a side, anywhere: 1 in MAE; in SimMIM as many patches as make 32 pixels.
    | Scattered of unit: int
    /// Overlapping rectangles of at least `minBlock` patches, height over width from `minRatio` to its inverse (BEiT: 16 and 0.3).
    | Blockwise of minBlock: int * minRatio: float

[<RequireQualifiedAccess>]
module MaskShape =
    let build shape : PatchMask =
        match shape with
        | Scattered unit -> RandomPatches unit
        | Blockwise(minBlock, minRatio) -> BlockPatches(minBlock, minRatio)

    /// In words.
    let describe shape =
        match shape with
        | Scattered 1 -> "single patches"
        | Scattered unit -> $"squares of {unit}×{unit} patches"
        | Blockwise(minBlock, minRatio) ->
            $"blocks of at least {minBlock} patches, ratio from {Problem.number minRatio}"

namespace SslResearch

open SslResearch.Core.Models

/// What tells the patches of a vision transformer apart.
[<RequireQualifiedAccess>]
type VitPositions =
    /// A learned vector for each patch.
    | Learned
    /// Fixed sines and cosines of column and row, as MAE has them.
    | SinCos

/// How positions are interpolated for views of another size than they are made for.
[<RequireQualifiedAccess>]
type VitResizing =
    /// By the two sizes, so that a mirrored table gives mirrored positions.
    | BySize
    /// By DINO's scale, which adds 0.1 patches to the side: not symmetric, and what weights trained with it expect.
    | DinoScale

/// What becomes the feature vector of a vision transformer.
[<RequireQualifiedAccess>]
type VitPool =
    /// The CLS token.
    | Cls
    /// The mean of the patch tokens.
    | Mean

/// Vision transformer (Dosovitskiy et al. 2021), weights as in DINO.
type Vit =
    {
        /// Side in pixels of the square images that positions are made for; views of other sizes get interpolated positions.
        Size: int
        /// Side of a patch in pixels; it divides the sides of all views.
        Patch: int
        /// Length of a token, and of h.
        Width: int
        /// Blocks.
        Depth: int
        /// Attention heads; they divide the width.
        Heads: int
        /// Width of a block's hidden layer over that of a token.
        MlpRatio: float
        /// Further learned tokens beside CLS (Darcet et al. 2024).
        Registers: int
        Positions: VitPositions
        [<AddedLater "DinoScale">]
        Resizing: VitResizing
        Pool: VitPool
        /// Initial factor of each branch's channels, then learned (CaiT, DINOv2).
        LayerScale: float option
        /// Stochastic depth of the last block in training, growing linearly from 0 at the first.
        DropPath: float
        /// Whether queries, keys and values have a bias.
        QkvBias: bool
        /// ε of the layer normalisations.
        NormEpsilon: float
    }

    interface IBackbone with
        member v.Build channels =
            let positions =
                match v.Positions with
                | VitPositions.Learned -> PositionEncoding.Learned
                | VitPositions.SinCos -> PositionEncoding.SinCos

            let resizing =
                match v.Resizing with
                | VitResizing.BySize -> PositionResizing.Size
                | VitResizing.DinoScale -> PositionResizing.DinoScale

            let pool =
                match v.Pool with
                | VitPool.Cls -> TokenPool.Cls
                | VitPool.Mean -> TokenPool.Mean

            new VisionTransformer(
                VitOptions(
                    struct (v.Size, v.Size),
                    v.Patch,
                    v.Width,
                    v.Depth,
                    v.Heads,
                    v.MlpRatio,
                    v.Registers,
                    positions,
                    pool,
                    Option.toNullable v.LayerScale,
                    v.DropPath,
                    v.QkvBias,
                    v.NormEpsilon,
                    channels,
                    Resizing = resizing
                )
            )

        member v.Layers =
            [
                for i in 1 .. v.Depth - 1 do
                    $"block{i}"

                Backbone.Output
            ]

        member v.Describe =
            [
                $"ViT width {v.Width}, depth {v.Depth}, {v.Heads} heads, patch {v.Patch} at {v.Size} px"

                match v.Positions with
                | VitPositions.Learned -> "learned positions"
                | VitPositions.SinCos -> "sine-cosine positions"

                match v.Pool with
                | VitPool.Cls -> "CLS"
                | VitPool.Mean -> "mean of patches"

                if v.Registers > 0 then
                    $"{v.Registers} registers"

                match v.LayerScale with
                | Some initial -> $"layer scale {Problem.number initial}"
                | None -> ()

                if v.DropPath > 0. then
                    $"drop path {Problem.number v.DropPath}"
            ]
            |> String.concat ", "

        member v.Problems =
            [
                yield! Problem.atLeast 1 "Patch" v.Patch
                yield! Problem.atLeast 1 "Width" v.Width
                yield! Problem.atLeast 1 "Depth" v.Depth
                yield! Problem.atLeast 1 "Heads" v.Heads
                yield! Problem.atLeast 0 "Registers" v.Registers
                yield! Problem.positive "NormEpsilon" v.NormEpsilon

                if v.Patch > 0 && (v.Size < v.Patch || v.Size % v.Patch <> 0) then
                    Problem.make "Size" $"{v.Size} pixels in patches of {v.Patch}" "Give a multiple of the patch"

                if v.Heads > 0 && v.Width % v.Heads <> 0 then
                    Problem.make "Heads" $"{v.Heads} heads in a width of {v.Width}" "Give a divisor of the width"

                if v.Positions = VitPositions.SinCos && v.Width % 4 <> 0 then
                    Problem.make
                        "Width"
                        $"{v.Width} channels for sine-cosine positions"
                        "Give a multiple of 4, or learned positions"

                if not (float v.Width * v.MlpRatio >= 1. && System.Double.IsFinite v.MlpRatio) then
                    Problem.make "MlpRatio" $"{Problem.number v.MlpRatio}" "Give a value above 0; 4 is usual"

                yield! v.LayerScale |> Option.toList |> List.collect (Problem.positive "LayerScale")

                if not (v.DropPath >= 0. && v.DropPath < 1.) then
                    Problem.make "DropPath" $"a rate of {Problem.number v.DropPath}" "Give 0 or more, below 1"
            ]

        member v.SideProblems side =
            [
                if v.Patch > 0 && side % v.Patch <> 0 then
                    Problem.make
                        "Patch"
                        $"patches of {v.Patch} pixels in images of {side}"
                        "Give a patch that divides the side, or images of another size"
            ]

[<AutoOpen>]
module Vits =
    let private vit size patch width heads =
        {
            Size = size
            Patch = patch
            Width = width
            Depth = 12
            Heads = heads
            MlpRatio = 4.
            Registers = 0
            Positions = VitPositions.Learned
            Resizing = VitResizing.BySize
            Pool = VitPool.Cls
            LayerScale = None
            DropPath = 0.
            QkvBias = true
            NormEpsilon = 1e-6
        }

    /// 192 wide, 12 deep, 3 heads (DeiT, Touvron et al. 2021): 5.4 M parameters.
    let VitTiny size patch = vit size patch 192 3

    /// 384 wide, 12 deep, 6 heads (DeiT): 21 M parameters.
    let VitSmall size patch = vit size patch 384 6

    /// 768 wide, 12 deep, 12 heads (Dosovitskiy et al. 2021): 85 M parameters.
    let VitBase size patch = vit size patch 768 12

    /// The CPU-scale transformer for images of 32 pixels: patch 4, 128 wide, 4 deep, 4 heads; 0.81 M parameters.
    let SmallVit = { vit 32 4 128 4 with Depth = 4 }

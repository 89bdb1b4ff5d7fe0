namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Views

/// Which patches I-JEPA predicts and which it shows. Shares are parts of all patches of a view.
type TargetBlocks =
    {
        /// Target blocks of each image.
        TargetCount: int
        /// Least share of a target block. All blocks have one area: of the whole numbers of patches in the range (its ends rounded outward)
        /// the one with the most rectangles of a wanted ratio, the largest of equals.
        MinTarget: float
        /// Largest share of a target block.
        MaxTarget: float
        /// Least height of a target block over its width.
        MinTargetRatio: float
        /// Largest height of a target block over its width.
        MaxTargetRatio: float
        /// Least share of the square that the context is taken from.
        MinContext: float
        /// Largest share of the square that the context is taken from.
        MaxContext: float
        /// Share of the context itself, which never holds a patch of a target: target blocks are placed so that this much is left, and what
        /// is left beyond it is dropped at random.
        Visible: float
    }

    /// The paper (section 3): four targets of 0.15 to 0.2, 0.75 to 1.5 times as high as wide; the context from a square of 0.85 to 1. A quarter
    /// of the patches is shown, about what its code keeps of them after cutting every context to the smallest of a batch.
    static member Default =
        {
            TargetCount = 4
            MinTarget = 0.15
            MaxTarget = 0.2
            MinTargetRatio = 0.75
            MaxTargetRatio = 1.5
            MinContext = 0.85
            MaxContext = 1.
            Visible = 0.25
        }

/// One view of each image, some of its patches to see and blocks of others to predict.
type ContextTargetsOf =
    {
        /// Side of a patch in pixels: the encoder's.
        Patch: int
        Blocks: TargetBlocks
        Ops: Op list
    }

    interface IAugmentation<ContextTargets> with
        member a.Build(source, normalisation) =
            let b = a.Blocks

            BlocksAugmenter(
                Augmentation.pipeline source normalisation a.Ops,
                BlocksOptions(
                    a.Patch,
                    b.TargetCount,
                    b.MinTarget,
                    b.MaxTarget,
                    b.MinTargetRatio,
                    b.MaxTargetRatio,
                    b.MinContext,
                    b.MaxContext,
                    b.Visible
                )
            )

        member a.Views = [ "view", a.Ops ]

        member a.Facts =
            let b = a.Blocks
            let n = Problem.number

            [
                "targets",
                $"{b.TargetCount} blocks of {n b.MinTarget} to {n b.MaxTarget}, ratio {n b.MinTargetRatio} to {n b.MaxTargetRatio}, patch {a.Patch}"
                "context", $"{n b.Visible} of the patches, from a square of {n b.MinContext} to {n b.MaxContext}"
            ]

        member a.WithViews views =
            match views with
            | [ ops ] -> { a with Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

    interface IPatched with
        member a.Patch = a.Patch

[<AutoOpen>]
module ContextTargetsForms =
    /// One view in patches of this side, some to see and blocks of others to predict.
    let contextTargets (patch: int) (blocks: TargetBlocks) (ops: Op list) : IAugmentation<ContextTargets> =
        {
            Patch = patch
            Blocks = blocks
            Ops = ops
        }

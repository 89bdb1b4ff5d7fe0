namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views

/// Clips of their own training data, every frame of a clip by the same draws. The encoder is scored on the setting's still images.
type Clips =
    {
        /// ShapesInMotion, or what was imported with --frames.
        Data: Data
        /// Jitter and gray are possible; a frame is changed as the others of its clip.
        Ops: Op list
    }

    interface IAugmentation<Clip> with
        member a.Build(source, normalisation) =
            ClipAugmenter(Augmentation.pipeline (FrameStrip.Frame source) normalisation a.Ops, FrameStrip.Frames source)

        member a.Views = [ "every frame", a.Ops ]

        member a.Facts = [ "clips", Data.describe a.Data ]

        member a.WithViews views =
            match views with
            | [ ops ] -> { a with Ops = ops }
            | _ -> invalidArg (nameof views) $"expected 1 list of operations, received {views.Length}"

    interface ITrainsOn with
        member a.Data = a.Data
        member a.Inner = a

[<AutoOpen>]
module ClipForms =
    /// Clips of this data.
    let clips (data: Data) (ops: Op list) : IAugmentation<Clip> = { Data = data; Ops = ops }

    /// Clips that `sslr data import NAME FOLDER --frames T` brought in.
    let clipsOf (name: string) (ops: Op list) : IAugmentation<Clip> = clips (Data.imported name) ops

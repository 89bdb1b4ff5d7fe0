namespace SslResearch

open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Views

/// How images become the batches that a method learns from. `'Views` is the batch type itself, so that an augmentation and
/// a method that do not fit each other do not compile.
type IAugmentation<'Views when 'Views: not struct and 'Views :> IViews> =
    /// What crosses into the engine.
    abstract Build: source: ImageShape * normalisation: Normalisation -> IAugmenter<'Views>

    /// The operations of each kind of view, with its name: for checks, tables and contact sheets.
    abstract Views: (string * Op list) list

    /// What tells it from others beside its operations, by name.
    abstract Facts: (string * string) list

    /// The same augmentation with other operations for each of `Views`, in that order.
    abstract WithViews: Op list list -> IAugmentation<'Views>

/// An augmentation whose images are not those of the setting: training takes its views from this data, evaluation stays with the
/// setting's.
type ITrainsOn =
    abstract Data: Data

    /// The augmentation that makes the views: another one, or this.
    abstract Inner: obj

/// An augmentation that hides or names patches, squares of this side in pixels.
type IPatched =
    abstract Patch: int

[<RequireQualifiedAccess>]
module Augmentation =
    let private viewOps (source: ImageShape) (ops: Op list) : ViewOp list =
        let step (height, width) op : ViewOp * (int * int) =
            match op with
            | Op.Crop o ->
                let h, w = o.Size |> Option.map (fun s -> s, s) |> Option.defaultValue (height, width)

                let mode =
                    match o.Resampling with
                    | Bilinear -> Interpolation.Bilinear
                    | Bicubic -> Interpolation.Bicubic

                ResizedCrop(o.MinArea, o.MaxArea, o.MinRatio, o.MaxRatio, h, w, mode), (h, w)
            | Op.Flip p -> Flip p, (height, width)
            | Op.VerticalFlip p -> VerticalFlip p, (height, width)
            | Op.Rotate90 p -> Rotate90 p, (height, width)
            | Op.Jitter o -> Jitter(o.Brightness, o.Contrast, o.Saturation, o.Hue, o.P), (height, width)
            | Op.Gray p -> Gray p, (height, width)
            | Op.Blur o -> Blur(o.MinSigma, o.MaxSigma, o.P), (height, width)
            | Op.Solarize o -> Solarize(o.Threshold, o.P), (height, width)

        ops |> List.mapFold step (source.Height, source.Width) |> fst

    let channels (n: Normalisation) =
        ChannelNormalisation(List.map float32 n.Mean, List.map float32 n.Std)

    /// One compiled view.
    let pipeline (source: ImageShape) (normalisation: Normalisation) (ops: Op list) =
        ViewPipeline(source, viewOps source ops, channels normalisation)

    /// Problems of every operation of every view.
    let problems (augmentation: IAugmentation<'Views>) =
        [
            for name, ops in augmentation.Views do
                for i, op in List.indexed ops do
                    yield! Op.problems op |> Problem.within $"{name}[{i}] {Op.name op}"
        ]

    /// Problems of an encoder with the sizes that views state.
    let sideProblems (problems: int -> Problem list) (augmentation: IAugmentation<'Views>) =
        [
            for name, ops in augmentation.Views do
                yield!
                    Op.outputSize ops
                    |> Option.toList
                    |> List.collect problems
                    |> Problem.within name
        ]

    /// In words.
    let describe (augmentation: IAugmentation<'Views>) =
        let words ops =
            match ops with
            | [] -> "none"
            | ops -> ops |> List.map Op.describe |> String.concat ", "

        match augmentation.Views |> List.map snd |> List.distinct with
        | [ one ] -> words one
        | _ ->
            augmentation.Views
            |> List.map (fun (name, ops) -> $"{name}: {words ops}")
            |> String.concat "; "

    /// The operations without those of one name. A crop that states the output's size leaves a plain resize to it, so that
    /// what is left out is the cropping and not the size.
    let without (name: string) (ops: Op list) =
        ops
        |> List.collect (fun op ->
            match op with
            | op when Op.name op <> name -> [ op ]
            | Op.Crop({ Size = Some _ } as o) ->
                [
                    Op.Crop
                        { o with
                            MinArea = 1.
                            MaxArea = 1.
                            MinRatio = 1.
                            MaxRatio = 1.
                        }
                ]
            | _ -> [])

    /// One augmentation for each operation name that occurs, lacking it in every view.
    let leaveOneOut (augmentation: IAugmentation<'Views>) =
        augmentation.Views
        |> List.collect snd
        |> List.map Op.name
        |> List.distinct
        |> List.map (fun name ->
            name, augmentation.WithViews(augmentation.Views |> List.map (fun (_, ops) -> without name ops)))

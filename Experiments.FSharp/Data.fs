namespace SslResearch

open SslResearch.Core.Data

/// Constants of the last step of every view, per channel, for values scaled to 0 … 1: (x - mean) / std.
type Normalisation = { Mean: float list; Std: float list }

/// Constants that have a name.
[<RequireQualifiedAccess>]
module Normalisation =
    /// Those of ImageNet, which many published encoders were trained with.
    let imageNet =
        {
            Mean = [ 0.485; 0.456; 0.406 ]
            Std = [ 0.229; 0.224; 0.225 ]
        }

/// How class, colour, surface and surroundings of procedural images hang together.
type ShapesStatistics =
    /// Not at all: the outline alone tells the class.
    | Independent
    /// As in photographs: half of the time a class has the colour, the surface, the surroundings that are typical of it.
    | Natural

/// The procedural dataset in motion: the object of an image moves, turns and bounces, and something passes in front of it at times.
type ShapesInMotionData =
    {
        /// Clips.
        Train: int
        Test: int
        /// Side of a frame in pixels.
        Size: int
        /// Frames of a clip.
        Frames: int
        Seed: uint64
        [<AddedLater "Independent">]
        Statistics: ShapesStatistics
    }

/// The procedural dataset: rendered by our code, needs no download.
type ShapesData =
    {
        Train: int
        Test: int
        /// Side in pixels.
        Size: int
        Seed: uint64
        /// What goes with what: shapes alone, or typical colours, surfaces and surroundings.
        [<AddedLater "Independent">]
        Statistics: ShapesStatistics
    }

/// A dataset that was brought in by `sslr data import NAME SOURCE`, with stated constants.
type ImportedData =
    {
        Name: string
        Normalisation: Normalisation
    }

/// Images with a train and a test split.
type Data =
    | Shapes of ShapesData
    /// Clips, each stored as one image: its frames one below the other.
    | ShapesInMotion of ShapesInMotionData
    /// Imported under the name cifar10.
    | Cifar10
    /// Imported under the name cifar100.
    | Cifar100
    /// Images, or clips where it was imported with --frames.
    | Imported of ImportedData
    /// The same with the mean and deviation of its own training split.
    | OwnStatistics of name: string
    /// A dataset whose test split is left alone: this part of the training split, drawn once and for all, stands in for it.
    /// For choosing settings.
    | HeldOut of data: Data * part: float

[<RequireQualifiedAccess>]
module Data =
    /// An imported dataset with the mean and deviation of its own training split.
    let imported name = OwnStatistics name

    /// An imported dataset with stated constants, such as `Normalisation.imageNet`.
    let importedWith normalisation name =
        Imported
            {
                Name = name
                Normalisation = normalisation
            }

    /// The name in the data root, and in tables.
    let rec name data =
        match data with
        | HeldOut(data, _) -> name data
        | Shapes _ -> "shapes"
        | ShapesInMotion _ -> "shapes-in-motion"
        | Cifar10 -> "cifar10"
        | Cifar100 -> "cifar100"
        | Imported o -> o.Name
        | OwnStatistics name -> name

    let private shapes statistics =
        match statistics with
        | Natural -> "Natural shapes"
        | Independent -> "Shapes"

    /// In words.
    let rec describe data =
        match data with
        | HeldOut(data, part) ->
            $"{describe data}, {Problem.number (100. * part)} %% of the training split in place of the test split"
        | Shapes s -> $"{shapes s.Statistics} {s.Size} px, {s.Train} train, {s.Test} test, seed {s.Seed}"
        | ShapesInMotion s ->
            $"{shapes s.Statistics} in motion {s.Size} px, {s.Frames} frames, {s.Train} train, {s.Test} test, seed {s.Seed}"
        | Cifar10 -> "CIFAR-10"
        | Cifar100 -> "CIFAR-100"
        | Imported o -> o.Name
        | OwnStatistics name -> name

    /// Means and deviations where the value says so without a look at the disk.
    let rec constants data : Normalisation option =
        match data with
        | HeldOut(data, _) -> constants data
        // The same objects on the same backgrounds: an encoder that learned from the clips is scored on still images as it saw the frames.
        | Shapes { Statistics = Natural }
        | ShapesInMotion { Statistics = Natural } ->
            Some
                {
                    Mean = [ 0.578; 0.548; 0.522 ]
                    Std = [ 0.252; 0.238; 0.245 ]
                }
        | Shapes _
        | ShapesInMotion _ ->
            Some
                {
                    Mean = [ 0.552; 0.518; 0.500 ]
                    Std = [ 0.253; 0.238; 0.242 ]
                }
        | Cifar10 ->
            Some
                {
                    Mean = [ 0.4914; 0.4822; 0.4465 ]
                    Std = [ 0.2470; 0.2435; 0.2616 ]
                }
        | Cifar100 ->
            Some
                {
                    Mean = [ 0.5071; 0.4865; 0.4409 ]
                    Std = [ 0.2673; 0.2564; 0.2762 ]
                }
        | Imported o -> Some o.Normalisation
        | OwnStatistics _ -> None

    /// Means and deviations, from the whole training split of the store's dataset where the value does not say them.
    let normalisation (train: ImageStore) data : Normalisation =
        match constants data with
        | Some stated -> stated
        | None ->
            {
                Mean = List.ofSeq train.Statistics.Mean
                Std = List.ofSeq train.Statistics.Deviation
            }

    /// Images that stand in for the test split.
    let heldOutCount (images: int) (part: float) =
        images |> float |> (*) part |> round |> int |> max 1 |> min (images - 1)

    /// Images of the training split, where the value says so without a look at the disk.
    let rec trainCount data =
        match data with
        | HeldOut(data, part) -> trainCount data |> Option.map (fun n -> n - heldOutCount n part)
        | Shapes s -> Some s.Train
        | ShapesInMotion s -> Some s.Train
        | Cifar10
        | Cifar100 -> Some 50_000
        | Imported _
        | OwnStatistics _ -> None

    /// Side of the images in pixels, of a clip's frames, where the value says so without a look at the disk.
    let rec side data =
        match data with
        | HeldOut(data, _) -> side data
        | Shapes s -> Some s.Size
        | ShapesInMotion s -> Some s.Size
        | Cifar10
        | Cifar100 -> Some 32
        | Imported _
        | OwnStatistics _ -> None

    /// Height and width of what is stored, a whole clip where it holds clips, where the value says so without a look at the disk.
    let rec stored data =
        match data with
        | HeldOut(data, _) -> stored data
        | ShapesInMotion s -> Some(s.Frames * s.Size, s.Size)
        | other -> side other |> Option.map (fun side -> side, side)

    /// Rendered by our code where it is missing; others have to be brought in.
    let rec isRendered data =
        match data with
        | HeldOut(data, _) -> isRendered data
        | Shapes _
        | ShapesInMotion _ -> true
        | Cifar10
        | Cifar100
        | Imported _
        | OwnStatistics _ -> false

    /// Clips for sure. What was imported tells only on the disk.
    let rec isClips data =
        match data with
        | HeldOut(data, _) -> isClips data
        | ShapesInMotion _ -> true
        | _ -> false

    /// The names that `sslr data import` takes.
    let private nameProblems (name: string) =
        let known c =
            System.Char.IsAsciiLetterOrDigit c || c = '-' || c = '_' || c = '.'

        Problem.unless
            (name <> "" && name[0] <> '.' && name |> Seq.forall known)
            "Name"
            $"the dataset name '{name}'"
            "Use letters, digits, -, _ and ., without a . in front"

    let rec problems data =
        match data with
        | HeldOut(data, part) ->
            [
                yield! problems data

                yield!
                    Problem.unless
                        (part > 0. && part < 1.)
                        "part"
                        $"{Problem.number part} of the training split"
                        "Give a fraction between 0 and 1, without them"

                match data with
                | HeldOut _ -> Problem.make "" "a held-out part of a held-out part" "Hold out once"
                | _ -> ()
            ]
        | Shapes s ->
            [
                yield! Problem.atLeast 1 "Train" s.Train
                yield! Problem.atLeast 1 "Test" s.Test
                yield! Problem.atLeast 8 "Size" s.Size
            ]
        | ShapesInMotion s ->
            [
                yield! Problem.atLeast 1 "Train" s.Train
                yield! Problem.atLeast 1 "Test" s.Test
                yield! Problem.atLeast 8 "Size" s.Size
                yield! Problem.atLeast 2 "Frames" s.Frames
            ]
        | Cifar10
        | Cifar100 -> []
        | OwnStatistics name -> nameProblems name
        | Imported o ->
            [
                yield! nameProblems o.Name

                yield!
                    Problem.unless
                        (o.Normalisation.Mean.Length = o.Normalisation.Std.Length)
                        "Normalisation"
                        $"{o.Normalisation.Mean.Length} means and {o.Normalisation.Std.Length} deviations"
                        "Give one of each for every channel"

                for i, std in List.indexed o.Normalisation.Std do
                    yield! Problem.positive $"Normalisation.Std[{i}]" std
            ]

namespace SslResearch

open System
open SslResearch.Core.Data
open SslResearch.Core.Runtime

/// Both splits of a dataset, memory-mapped.
type OpenData =
    {
        Train: ImageStore
        Test: ImageStore
        /// The store that both are parts of, where they are.
        Whole: ImageStore option
    }

    interface IDisposable with
        member d.Dispose() =
            d.Train.Dispose()
            d.Test.Dispose()
            d.Whole |> Option.iter _.Dispose()

/// From a dataset's description to its images.
[<RequireQualifiedAccess>]
module Datasets =
    /// What a dataset's name alone does not say, by the fingerprint of its training split.
    let edition (trainFingerprint: string) : string option =
        match trainFingerprint with
        | "391ffbb4749e101aed9716b0a16cbc083d92e735ac469dbdc18c865b5c2218b0" ->
            Some "CIFAR-10 (JPEG): recompressed images, slightly different from the original pixels"
        | _ -> None

    let private drawn statistics =
        match statistics with
        | Independent -> SslResearch.Core.Data.ShapesStatistics.Independent
        | Natural -> SslResearch.Core.Data.ShapesStatistics.Natural

    let private openSplit dataRoot data name =
        match data with
        | Shapes s ->
            let count = if name = "train" then s.Train else s.Test
            ShapesDataset.Open(ShapesOptions(count, s.Size, s.Seed, name, drawn s.Statistics), dataRoot)
        | ShapesInMotion s ->
            let count = if name = "train" then s.Train else s.Test
            ShapesClips.Open(ShapesClipsOptions(count, s.Size, s.Frames, s.Seed, name, drawn s.Statistics), dataRoot)
        | other ->
            let dataset = Data.name other

            let split =
                if name = "test" then
                    DatasetCatalogue.TestSplit(dataRoot, dataset)
                    |> Option.ofObj
                    |> Option.defaultValue name
                else
                    name

            DatasetCatalogue.Open(dataRoot, dataset, split)

    /// Opens both splits; Shapes are rendered into the data root the first time.
    let openSplits (dataRoot: string) (data: Data) : OpenData =
        match data with
        | HeldOut(inner, part) ->
            let whole = openSplit dataRoot inner "train"

            try
                let order = Array.zeroCreate<int> whole.Count
                let mutable draws = Philox(0UL, RandomPurpose.Evaluation)
                draws.Permutation(order.AsSpan())
                let held = Data.heldOutCount whole.Count part

                {
                    Train = whole.Part(ReadOnlySpan(Array.sort order[held..]), "train without held-out")
                    Test = whole.Part(ReadOnlySpan(Array.sort order[.. held - 1]), "held-out")
                    Whole = Some whole
                }
            with _ ->
                whole.Dispose()
                reraise ()
        | _ ->
            let train = openSplit dataRoot data "train"

            try
                {
                    Train = train
                    Test = openSplit dataRoot data "test"
                    Whole = None
                }
            with _ ->
                train.Dispose()
                reraise ()

    /// Problems of one dataset of one kind of use, which only its images show.
    let private ofImages (dataRoot: string) (owner: string, where) data (look: OpenData -> (string * Problem) list) =
        try
            use splits = openSplits dataRoot data
            let channels = splits.Train.Shape.Channels
            let n = Data.normalisation splits.Train data

            [
                if n.Mean.Length <> channels then
                    owner,
                    Problem.make
                        where
                        $"the normalisation has {n.Mean.Length} channels, the images have {channels}"
                        "Give one mean and one deviation for every channel, or use Data.imported"

                if (Data.constants data).IsNone && List.contains 0. n.Std then
                    owner,
                    Problem.make
                        where
                        $"channel {List.findIndex ((=) 0.) n.Std} has the same value everywhere, so that it cannot be divided by its deviation"
                        "State constants: Data.importedWith"

                if splits.Train.Shape <> splits.Test.Shape then
                    owner,
                    Problem.make
                        where
                        $"training images of {splits.Train.Shape}, test images of {splits.Test.Shape}"
                        "Import both splits with one resize rule"

                yield! look splits
            ]
        with :? DataException as e ->
            [ owner, Problem.make where (e.Message.TrimEnd '.') "Then check again" ]

    let private isUnlabelled (store: ImageStore) = store.Labels.IndexOfAnyExcept -1 < 0

    /// What only a look at the data root can tell: missing datasets, and sizes of imported ones.
    let problems (dataRoot: string) (runs: Run list) : Problem list =
        let batches (users: Run list) (splits: OpenData) =
            [
                for label, name in Seq.indexed splits.Train.ClassNames do
                    if not (splits.Train.Labels.Contains label) then
                        users.Head.Title,
                        Problem.make
                            "Setting.Data"
                            $"no training image of class '{name}' is left"
                            "Hold out a smaller part, or give more images"

                for run in users do
                    if run.Kind = Experiment && run.Setting.Train.BatchSize > splits.Train.Count then
                        run.Title,
                        Problem.make
                            "Setting.Train.BatchSize"
                            $"{run.Setting.Train.BatchSize} images a batch, but only {splits.Train.Count} in the training split"
                            "Make the batch smaller"
            ]

        let labels (splits: OpenData) (run: Run) =
            if isUnlabelled splits.Train then
                [
                    run.Title,
                    Problem.make
                        "Method"
                        $"learns from labels, and '{splits.Train.Name}' has none"
                        "Train it on a labelled dataset, or choose a self-supervised method"
                ]
            else
                []

        [
            for data, users in runs |> List.groupBy _.Setting.Data do
                if not (Data.isRendered data) then
                    yield!
                        ofImages dataRoot (users.Head.Title, "Setting.Data") data (fun splits ->
                            [
                                yield! batches (users |> List.filter (fun run -> run.TrainData = data)) splits

                                let name = Data.name data
                                let unlabelled = [ splits.Train; splits.Test ] |> List.exists isUnlabelled
                                let classes = splits.Train.ClassNames.Count

                                if not unlabelled && classes < 2 then
                                    users.Head.Title,
                                    Problem.make
                                        "Setting.Protocols"
                                        $"they score classes, and '{Data.name data}' has {classes}"
                                        "Give data of two or more classes"

                                for run in users do
                                    if run.NeedsLabels && run.TrainData = data then
                                        yield! labels splits run

                                    for protocol in run.Setting.Protocols do
                                        if unlabelled then
                                            run.Title,
                                            Problem.make
                                                "Setting.Protocols"
                                                $"{Protocol.name protocol} needs labels, and '{name}' has none"
                                                $"Score on a labelled dataset as Setting.Data, and train on this one: trainedOn (Data.imported \"{name}\") AUGMENTATION"

                                        match Protocol.scoring protocol with
                                        | Knn(k, _)
                                        | KnnVote k when k > splits.Train.Count && (Data.trainCount data).IsNone ->
                                            run.Title,
                                            Problem.make
                                                "Setting.Protocols"
                                                $"{k} neighbours from a bank of {splits.Train.Count} images"
                                                $"Give at most {splits.Train.Count}"
                                        | _ -> ()
                            ])

            for data, users in
                runs
                |> List.filter (fun run -> run.TrainData <> run.Setting.Data)
                |> List.groupBy _.TrainData do
                if not (Data.isRendered data) then
                    yield!
                        ofImages dataRoot (users.Head.Title, "Augment.Data") data (fun splits ->
                            batches users splits
                            @ (users |> List.filter _.NeedsLabels |> List.collect (labels splits)))
        ]
        |> Problem.gathered

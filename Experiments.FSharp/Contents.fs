namespace SslResearch

open System.Collections.Generic
open SslResearch.Core.Data

/// Which stored runs count. What was imported can be imported anew under its name: a stored run is the one that is wanted only where its
/// images are the ones that are there, and a table shows one content of a dataset.
[<RequireQualifiedAccess>]
module Contents =
    /// Fingerprints of a dataset's two splits as they are there now; None where our own code renders it, so that the identity of a run
    /// tells its images, and where it is not there.
    let present (dataRoot: string) : Data -> (string * string) option =
        let known = Dictionary<Data, (string * string) option>()

        let look data =
            if Data.isRendered data then
                None
            else
                try
                    use splits = Datasets.openSplits dataRoot data
                    Some(splits.Train.Fingerprint, splits.Test.Fingerprint)
                with :? DataException ->
                    None

        fun data ->
            match known.TryGetValue data with
            | true, prints -> prints
            | _ ->
                let prints = look data
                known[data] <- prints
                prints

    let private fits (wanted: Data -> (string * string) option) (run: Run) (stored: StoredRun) =
        let content = StoredRun.content stored

        let fit data prints =
            wanted data |> Option.forall ((=) prints)

        stored.RunId = run.Id
        && fit run.Setting.Data content.Scored
        && content.Trained |> Option.forall (fit run.TrainData)

    /// The stored line of a run and seed on the images that are there, complete or not.
    let find present (stored: StoredRun list) (run: Run, seed) =
        stored |> List.tryFind (fun r -> r.Seed = seed && fits present run r)

    /// Whether a run and seed needs no more work.
    let isDone present stored task =
        find present stored task |> Option.exists StoredRun.isComplete

    /// Of the stored lines of some runs those on one content of each dataset, the present one or else that of the newest line; then the others.
    let current present (runs: Run list) (stored: StoredRun list) : StoredRun list * StoredRun list =
        let newest data =
            let prints (r: StoredRun) =
                runs
                |> List.tryFind (fun run -> run.Id = r.RunId)
                |> Option.bind (fun run ->
                    let content = StoredRun.content r

                    if run.Setting.Data = data then Some content.Scored
                    elif run.TrainData = data then content.Trained
                    else None)

            present data |> Option.orElse (stored |> List.rev |> List.tryPick prints)

        let decided =
            runs
            |> List.collect (fun run -> [ run.Setting.Data; run.TrainData ])
            |> List.distinct
            |> List.map (fun data -> data, newest data)
            |> dict

        stored
        |> List.partition (fun r ->
            runs
            |> List.tryFind (fun run -> run.Id = r.RunId)
            |> Option.forall (fun run -> fits (fun data -> decided[data]) run r))

    /// Tells trainings on different contents apart, those of the runs that a run builds on among them; None where nothing was imported.
    let tag (present: Data -> (string * string) option) (run: Run) =
        match Run.withNeeds run |> List.choose (fun r -> present r.TrainData) with
        | [] -> None
        | prints -> Some((prints |> List.map fst |> String.concat "\n" |> Canonical.hash).Substring(0, 8))

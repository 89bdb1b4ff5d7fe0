namespace SslResearch

open System

/// The lines under a rendered table: how scores are defined, what all rows share, what is missing, where it was measured.
module internal TableNotes =
    open TableText

    let notYetRun (stored: StoredRun list) (runs: Run list) =
        let note words (pick: Run -> int list) =
            let parts =
                [
                    for run in runs do
                        match pick run with
                        | [] -> ()
                        | seeds ->
                            let list = seeds |> List.map string |> String.concat ", "
                            $"{run.Title} (seeds {list})"
                ]

            if parts.IsEmpty then
                []
            else
                let list = parts |> String.concat "; "
                [ $"{words}: {list}." ]

        [
            yield! note "Not run yet" (fun run -> run.Seeds |> List.except (ofRun stored run |> List.map _.Seed))

            yield!
                note "Diverged and without scores" (fun run ->
                    ofRun stored run
                    |> List.filter (fun r -> r.Verdict = "diverged")
                    |> List.map _.Seed)
        ]

    /// Protocols that failed, with their reasons.
    let failures (stored: StoredRun list) (runs: Run list) =
        [
            for run in runs do
                for (protocol, why), same in
                    ofRun stored run
                    |> List.collect (fun r -> r.Failures |> List.map (fun failure -> failure, r.Seed))
                    |> List.groupBy fst do
                    let seeds = same |> List.map (snd >> string) |> String.concat ", "
                    $"Could not be scored: {run.Title} (seeds {seeds}) by {protocol}: {why}"
        ]

    /// Stored runs on images that the table does not show.
    let leftOut (runs: Run list) (left: StoredRun list) =
        [
            for (name, print), same in
                left
                |> List.filter (fun r -> runs |> List.exists (fun run -> run.Id = r.RunId))
                |> List.groupBy (fun r -> r.Dataset.Name, r.Dataset.TrainFingerprint) do
                let count =
                    if same.Length = 1 then
                        "1 stored run"
                    else
                        $"{same.Length} stored runs"

                let short = print.Substring(0, min 12 print.Length)
                $"Left out: {count} on another content of '{name}' (training split {short})."
        ]

    let private several count noun =
        if count = 1 then $"1 {noun}" else $"{count} {noun}s"

    let private short (hash: string) =
        if hash.Length > 12 then hash.Substring(0, 12) else hash

    let provenance (used: StoredRun list) =
        let p = used |> List.map _.Provenance
        let list pick = p |> List.map pick |> distinctText "; "

        let datasets =
            used
            |> List.collect (fun r -> r.Dataset :: Option.toList r.TrainedOn)
            |> List.map (fun d ->
                let list = List.map (digits 4) >> String.concat ", "

                let own =
                    match d.Normalisation with
                    | Some n -> $", mean {list n.Mean}, deviation {list n.Std}"
                    | None -> ""

                let edition =
                    Datasets.edition d.TrainFingerprint
                    |> Option.map (fun e -> $" – {e}")
                    |> Option.defaultValue ""

                d.Name,
                $"{d.Name}: {d.TrainCount} train ({short d.TrainFingerprint}), {d.TestCount} test ({short d.TestFingerprint}){own}{edition}")
            |> List.distinct

        [
            if not used.IsEmpty then
                let text = datasets |> List.map snd |> String.concat "; "
                $"Dataset and fingerprints: {text}."

                if datasets |> List.countBy fst |> List.exists (fun (_, editions) -> editions > 1) then
                    "Attention: the rows were measured on different data under one name."

                let machines = list (fun p -> p.Cpu + ", " + several p.Cores "core")
                let devices = list (fun p -> p.Device + ", " + several p.Threads "thread")
                $"Machine: {machines}; device: {devices}."

                let versions =
                    list (fun p -> p.Versions |> List.map (fun (name, v) -> $"{name} {v}") |> String.concat ", ")

                $"Versions: {versions}."
        ]

    let definitions (runs: Run list) protocols =
        [
            "Accuracy in % on the test split, with the weights after the last step: no epoch is chosen by test scores. ± is the half width of the 95 % interval of the mean over seeds (Student t)."

            for protocol in protocols do
                Protocol.describe protocol + "."

            for data in runs |> List.map _.Setting.Data |> List.distinct do
                let list = List.map Problem.number >> String.concat ", "

                match Data.constants data with
                | Some n -> $"Normalisation of {Data.name data}: mean {list n.Mean}, deviation {list n.Std}."
                | None -> $"Normalisation of {Data.name data}: mean and deviation of its training split."
        ]

    /// What methods say of themselves, as means over seeds.
    let measures (stored: StoredRun list) (runs: Run list) =
        [
            for run in runs do
                let done' = ofRun stored run

                let figures =
                    [
                        for name in done' |> List.collect (fun r -> List.map fst r.Measures) |> List.distinct do
                            let values =
                                done'
                                |> List.collect _.Measures
                                |> List.filter (fun (n, v) -> n = name && Double.IsFinite v)
                                |> List.map snd

                            match Statistics.estimate values with
                            | Some e -> $"{name} {figure e}"
                            | None -> ()
                    ]

                if not figures.IsEmpty then
                    let figures = String.concat ", " figures
                    $"{run.Title}, on the test split of what it was trained on: {figures}."
        ]

    let constants constant =
        match constant with
        | [] -> []
        | _ ->
            let text =
                constant
                |> List.map (fun (name, value) -> $"{name} {value}")
                |> String.concat "; "

            [ $"The same in every row that has it: {text}." ]

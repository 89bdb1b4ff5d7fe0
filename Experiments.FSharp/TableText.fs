namespace SslResearch

open System

/// What stands in the cells of rendered tables.
module TableText =
    let missing = "–"

    let percent (x: float) =
        x.ToString("F1", Globalization.CultureInfo.InvariantCulture)

    let digits (places: int) (x: float) =
        x.ToString($"F{places}", Globalization.CultureInfo.InvariantCulture)

    /// Mean ± half width in percent.
    let estimate (e: Estimate) =
        match e.Half with
        | Some half -> $"{percent e.Mean} ± {percent half}"
        | None -> $"{percent e.Mean} (n=1)"

    /// Mean ± half width to three digits.
    let figure (e: Estimate) =
        let three (x: float) =
            x.ToString("G3", Globalization.CultureInfo.InvariantCulture)

        match e.Half with
        | Some half -> $"{three e.Mean} ± {three half}"
        | None -> $"{three e.Mean} (n=1)"

    let ofRun (stored: StoredRun list) (run: Run) =
        stored |> List.filter (fun r -> r.RunId = run.Id) |> List.sortBy _.Seed

    let values (runs: StoredRun list) protocol =
        let name = Protocol.name protocol

        runs
        |> List.choose (fun r -> r.Scores |> List.tryFind (fun s -> s.Protocol = name))
        |> List.map _.Value

    let cell (runs: StoredRun list) protocol =
        match Statistics.estimate (values runs protocol) with
        | Some e -> estimate e
        | None when not runs.IsEmpty && runs |> List.forall (fun r -> r.Verdict = "diverged") -> "diverged"
        | None -> missing

    let seeds (runs: StoredRun list) =
        runs |> List.map (fun r -> string r.Seed) |> String.concat ","

    let distinctText separator (items: string list) =
        items |> List.distinct |> String.concat separator

    let median (runs: StoredRun list) pick =
        runs |> List.map pick |> List.filter Double.IsFinite |> Statistics.median

    let verdicts (runs: StoredRun list) =
        let words (verdict, same: StoredRun list) =
            let parts =
                [
                    for run in same do
                        match run.Training.CollapsedSince with
                        | Some step when run.Training.Budget > 0L -> 100. * float step / float run.Training.Budget
                        | _ -> ()
                ]

            match parts |> List.map (digits 0) |> List.sort |> List.distinct with
            | [] -> verdict
            | [ one ] -> $"{verdict}, from {one} %% of the budget"
            | _ -> $"{verdict}, from {digits 0 (List.min parts)}–{digits 0 (List.max parts)} %% of the budget"

        if runs.IsEmpty then
            missing
        else
            runs |> List.groupBy _.Verdict |> List.map words |> String.concat "; "

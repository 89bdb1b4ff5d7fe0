namespace SslResearch

open System

/// A table as text: what Markdown, CSV and HTML are made of.
type RenderedTable =
    {
        Title: string
        Headers: string list
        Rows: string list list
        /// Lines under the table: how scores are defined, what all rows share, what is missing.
        Notes: string list
        /// Pictures of what methods predict: caption, and path from the results file.
        Pictures: (string * string) list
        /// Where each row comes from.
        RunHeaders: string list
        RunRows: string list list
        /// Lines of the CSV file, without its header.
        Csv: string list list
    }

/// Tables as a pure function of stored runs.
[<RequireQualifiedAccess>]
module Render =
    let private missing = "–"
    /// Facts longer than this are told under the table.
    let private longestColumn = 24

    let private percent (x: float) =
        x.ToString("F1", Globalization.CultureInfo.InvariantCulture)

    let private digits (places: int) (x: float) =
        x.ToString($"F{places}", Globalization.CultureInfo.InvariantCulture)

    /// Mean ± half width in percent.
    let estimate (e: Estimate) =
        match e.Half with
        | Some half -> $"{percent e.Mean} ± {percent half}"
        | None -> $"{percent e.Mean} (n=1)"

    /// Mean ± half width to three digits.
    let private figure (e: Estimate) =
        let three (x: float) =
            x.ToString("G3", Globalization.CultureInfo.InvariantCulture)

        match e.Half with
        | Some half -> $"{three e.Mean} ± {three half}"
        | None -> $"{three e.Mean} (n=1)"

    let private ofRun (stored: StoredRun list) (run: Run) =
        stored |> List.filter (fun r -> r.RunId = run.Id) |> List.sortBy _.Seed

    let private values (runs: StoredRun list) protocol =
        let name = Protocol.name protocol

        runs
        |> List.choose (fun r -> r.Scores |> List.tryFind (fun s -> s.Protocol = name))
        |> List.map _.Value

    let private cell (runs: StoredRun list) protocol =
        match Statistics.estimate (values runs protocol) with
        | Some e -> estimate e
        | None when not runs.IsEmpty && runs |> List.forall (fun r -> r.Verdict = "diverged") -> "diverged"
        | None -> missing

    let private seeds (runs: StoredRun list) =
        runs |> List.map (fun r -> string r.Seed) |> String.concat ","

    let private distinctText separator (items: string list) =
        items |> List.distinct |> String.concat separator

    /// Facts of the rows: those that differ (by name, one value for each run), and those that do not.
    let private facts (runs: Run list) =
        let names = runs |> List.collect (fun r -> r.Facts |> List.map fst) |> List.distinct

        let value name (run: Run) =
            run.Facts |> List.tryFind (fst >> (=) name) |> Option.map snd

        names
        |> List.map (fun name -> name, runs |> List.map (value name))
        |> List.partition (fun (_, values) -> (values |> List.choose id |> List.distinct).Length > 1)
        |> fun (varying, constant) -> varying, constant |> List.map (fun (name, v) -> name, v |> List.pick id)

    let private missingNotes (stored: StoredRun list) (runs: Run list) =
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

    let private several count noun =
        if count = 1 then $"1 {noun}" else $"{count} {noun}s"

    let private short (hash: string) =
        if hash.Length > 12 then hash.Substring(0, 12) else hash

    let private provenanceNotes (used: StoredRun list) =
        let p = used |> List.map _.Provenance
        let list pick = p |> List.map pick |> distinctText "; "

        let datasets =
            used
            |> List.collect (fun r -> r.Dataset :: Option.toList r.TrainedOn)
            |> List.map (fun d ->
                let edition =
                    Datasets.edition d.TrainFingerprint
                    |> Option.map (fun e -> $" – {e}")
                    |> Option.defaultValue ""

                d.Name,
                $"{d.Name}: {d.TrainCount} train ({short d.TrainFingerprint}), {d.TestCount} test ({short d.TestFingerprint}){edition}")
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

    let private definitionNotes (runs: Run list) protocols =
        [
            "Accuracy in % on the test split, with the weights after the last step: no epoch is chosen by test scores. ± is the half width of the 95 % interval of the mean over seeds (Student t)."

            for protocol in protocols do
                Protocol.describe protocol + "."

            for data in runs |> List.map _.Setting.Data |> List.distinct do
                let n = Data.normalisation data
                let list = List.map Problem.number >> String.concat ", "
                $"Normalisation of {Data.name data}: mean {list n.Mean}, deviation {list n.Std}."
        ]

    let private median (runs: StoredRun list) pick =
        runs |> List.map pick |> List.filter Double.IsFinite |> Statistics.median

    let private verdicts (runs: StoredRun list) =
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

    let private runTable (stored: StoredRun list) (runs: Run list) =
        let headers = [ "run"; "run id"; "seeds"; "verdict"; "loss"; "train s"; "img/s"; "commit" ]

        let rows =
            [
                for run in runs do
                    let done' = ofRun stored run

                    let number places pick =
                        median done' pick |> Option.map (digits places) |> Option.defaultValue missing

                    let trained = done' |> List.exists (fun r -> r.Training.Steps > 0L)

                    let list pick =
                        if done'.IsEmpty then
                            missing
                        else
                            done' |> List.map pick |> distinctText ", "

                    [
                        run.Title
                        run.Id
                        (if done'.IsEmpty then missing else seeds done')
                        verdicts done'
                        (if trained then number 3 _.Training.Loss else missing)
                        (if trained then number 0 _.Training.Seconds else missing)
                        (if trained then
                             number 0 _.Training.ImagesPerSecond
                         else
                             missing)
                        list (fun r -> r.Provenance.Commit + (if r.Provenance.Dirty then "+changes" else ""))
                    ]
            ]

        headers, rows

    let private csvLines title (stored: StoredRun list) (runs: Run list) protocols =
        [
            for run in runs do
                let done' = ofRun stored run

                for protocol in protocols do
                    let values = values done' protocol
                    let e = Statistics.estimate values

                    let number (x: float option) =
                        x |> Option.map (digits 6) |> Option.defaultValue ""

                    [
                        title
                        run.Name
                        run.Labels |> List.map (fun (a, v) -> $"{a}={v}") |> String.concat "; "
                        run.Id
                        Protocol.name protocol
                        string values.Length
                        number (e |> Option.map _.Mean)
                        number (e |> Option.bind _.Half)
                        done' |> List.map (fun r -> string r.Seed) |> String.concat " "
                        values |> List.map (digits 6) |> String.concat " "
                    ]
        ]

    /// What methods say of themselves, as means over seeds.
    let private measureNotes (stored: StoredRun list) (runs: Run list) =
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

    let private pictures (stored: StoredRun list) (runs: Run list) =
        [
            for run in runs do
                for r in ofRun stored run do
                    match r.Picture with
                    | Some path -> $"{run.Title}, seed {r.Seed}", path
                    | None -> ()
        ]

    let private constantNote constant =
        match constant with
        | [] -> []
        | _ ->
            let text =
                constant
                |> List.map (fun (name, value) -> $"{name} {value}")
                |> String.concat "; "

            [ $"The same in every row that has it: {text}." ]

    let private comparison title (stored: StoredRun list) (runs: Run list) protocols =
        let varying, constant = facts runs

        let isLong (_, values) =
            values
            |> List.choose id
            |> List.exists (fun (v: string) -> v.Length > longestColumn)

        let long, columns = varying |> List.partition isLong

        let used = runs |> List.collect (ofRun stored)

        {
            Title = title
            Headers =
                [
                    "run"
                    yield! columns |> List.map fst
                    yield! protocols |> List.map Protocol.name
                ]
            Rows =
                [
                    for i, run in List.indexed runs do
                        [
                            run.Title
                            yield! columns |> List.map (fun (_, v) -> v[i] |> Option.defaultValue missing)
                            yield! protocols |> List.map (cell (ofRun stored run))
                        ]
                ]
            Notes =
                [
                    yield! missingNotes stored runs
                    yield! definitionNotes runs protocols
                    yield! measureNotes stored runs
                    yield! constantNote constant

                    for name, values in long do
                        let text =
                            List.zip runs values
                            |> List.choose (fun (run, value) -> value |> Option.map (fun v -> v, run.Title))
                            |> List.groupBy fst
                            |> List.map (fun (value, rows) ->
                                let titles = rows |> List.map snd |> String.concat ", "
                                $"{titles}: {value}")
                            |> String.concat "; "

                        $"{name} – {text}."

                    yield! provenanceNotes used
                ]
            Pictures = pictures stored runs
            RunHeaders = runTable stored runs |> fst
            RunRows = runTable stored runs |> snd
            Csv = csvLines title stored runs protocols
        }

    /// The columns of the documents' comparison tables, measured.
    let private methodTable title (stored: StoredRun list) (runs: Run list) protocols =
        let varying, constant = facts runs

        let row (run: Run) =
            let done' = ofRun stored run

            let card pick =
                run.Card |> Option.map pick |> Option.defaultValue missing

            let trained = done' |> List.filter (fun r -> r.Training.Steps > 0L)

            let cost places pick =
                median trained pick |> Option.map (digits places) |> Option.defaultValue missing

            [
                run.Title
                card (fun c -> if c.Year > 0 then string c.Year else missing)
                card (fun c -> MethodKind.describe c.Kind)
                card _.Masking
                card _.Negatives
                (if run.Kind = Experiment then
                     string run.Setting.Train.BatchSize
                 else
                     missing)
                yield! protocols |> List.map (cell done')
                verdicts done'
                cost 0 _.Training.Seconds
                cost 0 _.Training.ImagesPerSecond
                cost 0 (fun r -> float r.Training.PeakMemory / 1048576.)
                card _.Idea
            ]

        let settings (run: Run) =
            varying
            |> List.filter (fun (name, _) -> name <> "method")
            |> List.choose (fun (name, values) ->
                values[List.findIndex (fun (r: Run) -> r.Id = run.Id) runs]
                |> Option.map (fun v -> $"{name} {v}"))
            |> String.concat "; "

        {
            Title = title
            Headers =
                [
                    "method"
                    "year"
                    "type"
                    "masking"
                    "negatives"
                    "batch"
                    yield! protocols |> List.map Protocol.name
                    "verdict"
                    "train s"
                    "img/s"
                    "peak MiB"
                    "core idea"
                ]
            Rows = runs |> List.map row
            Notes =
                [
                    yield! missingNotes stored runs
                    yield! definitionNotes runs protocols
                    yield! measureNotes stored runs

                    "Time, images per second (images, not views) and peak resident memory: medians over seeds; training alone, evaluation not counted."

                    yield! constantNote constant

                    for run in runs do
                        if run.Kind = Experiment then
                            $"{run.Title} – {settings run}."

                    yield! provenanceNotes (runs |> List.collect (ofRun stored))
                ]
            Pictures = pictures stored runs
            RunHeaders = runTable stored runs |> fst
            RunRows = runTable stored runs |> snd
            Csv = csvLines title stored runs protocols
        }

    let private pivot title (stored: StoredRun list) (p: Pivot) =
        let width = p.Columns.Length
        // What varies shows in the labels of the axes.
        let _, constant = facts p.Cells

        {
            Title = title
            Headers = $"{p.RowAxis} \\ {p.ColumnAxis}" :: p.Columns
            Rows =
                [
                    for i, row in List.indexed p.Rows do
                        row
                        :: [
                            for j in 0 .. width - 1 -> cell (ofRun stored p.Cells[i * width + j]) p.Protocol
                        ]
                ]
            Notes =
                [
                    yield! missingNotes stored p.Cells
                    yield! definitionNotes p.Cells [ p.Protocol ]
                    yield! measureNotes stored p.Cells
                    yield! constantNote constant
                    yield! provenanceNotes (p.Cells |> List.collect (ofRun stored))
                ]
            Pictures = pictures stored p.Cells
            RunHeaders = runTable stored p.Cells |> fst
            RunRows = runTable stored p.Cells |> snd
            Csv = csvLines title stored p.Cells [ p.Protocol ]
        }

    /// One table from stored runs.
    let table (stored: StoredRun list) (table: Table) : RenderedTable =
        match table.Shape with
        | Comparison(runs, protocols) -> comparison table.Title stored runs protocols
        | MethodTable(runs, protocols) -> methodTable table.Title stored runs protocols
        | PivotTable p -> pivot table.Title stored p

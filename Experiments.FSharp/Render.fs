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
    open TableText

    /// Facts longer than this are told under the table.
    let private longestColumn = 24

    /// Facts of the rows: those that differ (by name, one value for each run), and those that do not.
    let private facts (runs: Run list) =
        let names = runs |> List.collect (fun r -> r.Facts |> List.map fst) |> List.distinct

        let value name (run: Run) =
            run.Facts |> List.tryFind (fst >> (=) name) |> Option.map snd

        names
        |> List.map (fun name -> name, runs |> List.map (value name))
        |> List.partition (fun (_, values) -> (values |> List.choose id |> List.distinct).Length > 1)
        |> fun (varying, constant) -> varying, constant |> List.map (fun (name, v) -> name, v |> List.pick id)

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

    let private pictures (stored: StoredRun list) (runs: Run list) =
        [
            for run in runs do
                for r in ofRun stored run do
                    match r.Picture with
                    | Some path -> $"{run.Title}, seed {r.Seed}", path
                    | None -> ()
        ]

    /// What tables of every shape have beside their rows: notes, in their order with the table's own ones, pictures, runs and the CSV file.
    let private complete title (stored: StoredRun list) (runs: Run list) protocols constant own (headers, rows) =
        let runHeaders, runRows = runTable stored runs

        {
            Title = title
            Headers = headers
            Rows = rows
            Notes =
                [
                    yield! TableNotes.notYetRun stored runs
                    yield! TableNotes.failures stored runs
                    yield! TableNotes.definitions runs protocols
                    yield! TableNotes.measures stored runs
                    yield! TableNotes.constants constant
                    yield! own
                    yield! TableNotes.provenance (runs |> List.collect (ofRun stored))
                ]
            Pictures = pictures stored runs
            RunHeaders = runHeaders
            RunRows = runRows
            Csv = csvLines title stored runs protocols
        }

    let private comparison title (stored: StoredRun list) (runs: Run list) protocols =
        let varying, constant = facts runs

        let isLong (_, values) =
            values
            |> List.choose id
            |> List.exists (fun (v: string) -> v.Length > longestColumn)

        let long, columns = varying |> List.partition isLong

        let headers =
            [
                "run"
                yield! columns |> List.map fst
                yield! protocols |> List.map Protocol.name
            ]

        let rows =
            [
                for i, run in List.indexed runs do
                    [
                        run.Title
                        yield! columns |> List.map (fun (_, v) -> v[i] |> Option.defaultValue missing)
                        yield! protocols |> List.map (cell (ofRun stored run))
                    ]
            ]

        let told =
            [
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
            ]

        complete title stored runs protocols constant told (headers, rows)

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

        let headers =
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

        let own =
            [
                "Time, images per second (images, not views) and peak resident memory: medians over seeds; training alone, evaluation not counted."

                for run in runs do
                    if run.Kind = Experiment then
                        $"{run.Title} – {settings run}."
            ]

        complete title stored runs protocols constant own (headers, List.map row runs)

    let private pivot title (stored: StoredRun list) (p: Pivot) =
        let width = p.Columns.Length
        // What varies shows in the labels of the axes.
        let _, constant = facts p.Cells

        let rows =
            [
                for i, row in List.indexed p.Rows do
                    row
                    :: [
                        for j in 0 .. width - 1 -> cell (ofRun stored p.Cells[i * width + j]) p.Protocol
                    ]
            ]

        complete title stored p.Cells [ p.Protocol ] constant [] ($"{p.RowAxis} \\ {p.ColumnAxis}" :: p.Columns, rows)

    /// One table from stored runs.
    let table (stored: StoredRun list) (table: Table) : RenderedTable =
        match table.Shape with
        | Comparison(runs, protocols) -> comparison table.Title stored runs protocols
        | MethodTable(runs, protocols) -> methodTable table.Title stored runs protocols
        | PivotTable p -> pivot table.Title stored p

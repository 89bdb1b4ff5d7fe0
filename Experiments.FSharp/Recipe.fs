namespace SslResearch

open SslResearch.Core.Views

/// Two axes and one score; every cell a run.
[<NoEquality; NoComparison>]
type Pivot =
    {
        RowAxis: string
        Rows: string list
        ColumnAxis: string
        Columns: string list
        /// Row by row.
        Cells: Run list
        Protocol: Protocol
    }

type TableShape =
    /// One row a run, one column a protocol.
    | Comparison of Run list * Protocol list
    /// One row a method: what the catalogue says of it, its scores, what it cost and how it ended.
    | MethodTable of Run list * Protocol list
    | PivotTable of Pivot

/// A table to be rendered from stored runs.
[<NoEquality; NoComparison>]
type Table = { Title: string; Shape: TableShape }

[<RequireQualifiedAccess>]
module Table =
    /// Runs beside each other, one column for each score.
    let compare title (runs: Run list) (protocols: Protocol list) =
        {
            Title = title
            Shape = Comparison(runs, protocols)
        }

    /// Methods beside each other: kind, year, masking, negatives, batch size, scores, verdict, time, memory, idea.
    let methods title (runs: Run list) (protocols: Protocol list) =
        {
            Title = title
            Shape = MethodTable(runs, protocols)
        }

    /// A two-dimensional grid over one experiment, with one score in its cells.
    let pivot title (experiment: Experiment<'Views>) (rows: Axis<'Views>) (columns: Axis<'Views>) (protocol: Protocol) =
        {
            Title = title
            Shape =
                PivotTable
                    {
                        RowAxis = rows.Name
                        Rows = rows.Values |> List.map _.Label
                        ColumnAxis = columns.Name
                        Columns = columns.Values |> List.map _.Label
                        Cells = Grid.cells experiment [ rows; columns ] |> List.map Run.ofCell
                        Protocol = protocol
                    }
        }

    let runs table =
        match table.Shape with
        | Comparison(runs, _)
        | MethodTable(runs, _) -> runs
        | PivotTable pivot -> pivot.Cells

/// One study: its tables say which runs it needs.
[<NoEquality; NoComparison>]
type Recipe =
    {
        /// Its name on the command line and its folder under results.
        Name: string
        /// One line for `sslr list`.
        Summary: string
        Tables: Table list
    }

[<RequireQualifiedAccess>]
module Recipe =
    /// Each run once, with all seeds that any table or dependent run asks for: in the order of the tables, and after the runs it
    /// builds on.
    let runs (recipe: Recipe) =
        let rec withNeeds (run: Run) =
            [
                for needed in run.Needs do
                    yield!
                        withNeeds
                            { needed with
                                setting =
                                    { needed.setting with
                                        Seeds = run.Seeds
                                    }
                            }

                run
            ]

        recipe.Tables
        |> List.collect Table.runs
        |> List.collect withNeeds
        |> List.groupBy _.Id
        |> List.map (fun (_, same) ->
            let first = List.head same

            { first with
                setting =
                    { first.setting with
                        Seeds = same |> List.collect _.Seeds |> List.distinct
                    }
            })

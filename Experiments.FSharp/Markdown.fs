namespace SslResearch

open System
open System.Text

/// Rendered tables as Markdown.
[<RequireQualifiedAccess>]
module Markdown =
    let private grid (b: StringBuilder) (headers: string list) (rows: string list list) =
        let escape (s: string) =
            s.Replace("|", "\\|").ReplaceLineEndings " "

        let widths =
            headers :: rows
            |> List.transpose
            |> List.map (List.map (fun c -> (escape c).Length) >> List.max)

        let line (cells: string list) =
            let padded = List.map2 (fun (c: string) (w: int) -> (escape c).PadRight w) cells widths
            let text = String.concat " | " padded
            b.Append("| ").Append(text).Append(" |\n") |> ignore

        line headers
        widths |> List.map (fun w -> String('-', w)) |> line
        rows |> List.iter line

    /// The Markdown of one table.
    let table (t: RenderedTable) =
        let b = StringBuilder()
        b.Append("## ").Append(t.Title).Append("\n\n") |> ignore
        grid b t.Headers t.Rows
        b.Append '\n' |> ignore

        for note in t.Notes do
            b.Append("- ").Append(note).Append('\n') |> ignore

        if not t.Pictures.IsEmpty then
            let links =
                t.Pictures
                |> List.map (fun (caption, path) -> $"[{caption}]({path})")
                |> String.concat ", "

            b.Append("- Pictures: ").Append(links).Append(".\n") |> ignore

        b.Append '\n' |> ignore
        grid b t.RunHeaders t.RunRows
        b.ToString()

    /// The Markdown file of a recipe.
    let file (recipe: Recipe) (tables: RenderedTable list) =
        let body = tables |> List.map table |> String.concat "\n"
        $"# {recipe.Name}\n\n{recipe.Summary}\n\nRendered from runs.jsonl; not edited by hand.\n\n{body}"

/// Rendered tables as comma-separated values.
[<RequireQualifiedAccess>]
module Csv =
    /// The CSV file of a recipe: one line for each run and protocol (RFC 4180).
    let file (tables: RenderedTable list) =
        let field (s: string) =
            if s.IndexOfAny [| ','; '"'; '\n' |] >= 0 then
                "\"" + s.Replace("\"", "\"\"") + "\""
            else
                s

        let header =
            [
                "table"
                "run"
                "labels"
                "run_id"
                "protocol"
                "n"
                "mean"
                "half_width_95"
                "seeds"
                "values"
            ]

        header :: (tables |> List.collect _.Csv)
        |> List.map (List.map field >> String.concat ",")
        |> List.map (fun line -> line + "\n")
        |> String.concat ""

namespace SslResearch

open System
open System.Globalization
open System.IO
open System.Net
open System.Text

/// The self-contained HTML page of a recipe: its tables, and the loss curves of its runs as drawings inside it.
[<RequireQualifiedAccess>]
module Report =
    let private style =
        """
body{font:15px/1.5 system-ui,sans-serif;max-width:100rem;margin:2rem auto;padding:0 1rem;color:#1c2330;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}p,ul{max-width:72rem}img{max-width:100%}
th,td{padding:.35rem .6rem;text-align:left;border-bottom:1px solid #dde2ea}
td{white-space:nowrap}td.long{white-space:normal;min-width:14rem;font-size:.85rem;line-height:1.35}
th{border-bottom:2px solid #8a95a8;font-weight:600}tr:hover td{background:#f5f7fa}
ul,.small{color:#4b5568;font-size:.85rem}details{margin:.5rem 0}
.curves{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}figcaption{font-size:.8rem;color:#4b5568;max-width:240px}
@media(prefers-color-scheme:dark){body{color:#dfe5ee;background:#14181f}th,td{border-color:#2c3442}
tr:hover td{background:#1c222c}ul,.small,figcaption{color:#9aa6b8}}
"""

    let private colours = [| "#3568c0"; "#c2553a"; "#3a8f5c"; "#8a56b0"; "#b08a2a"; "#4a9aa8" |]

    /// Characters of a cell that stay on one line.
    let private longestLine = 26

    let private encode (s: string) = WebUtility.HtmlEncode s

    let private number (x: float) =
        x.ToString("0.##", CultureInfo.InvariantCulture)

    let private table (headers: string list) (rows: string list list) =
        let row cell cells =
            let cells = cells |> List.map cell |> String.concat ""
            $"<tr>{cells}</tr>"

        let cell (c: string) =
            let longer = if c.Length > longestLine then " class=\"long\"" else ""
            $"<td{longer}>{encode c}</td>"

        let body = rows |> List.map (row cell) |> String.concat "\n"
        let head = headers |> row (fun c -> $"<th>{encode c}</th>")
        $"<div class=\"wide\"><table>\n{head}\n{body}\n</table></div>\n"

    /// Loss over steps, one line a seed, the chance level dashed.
    let private drawing (title: string) (runs: StoredRun list) =
        let curves =
            runs
            |> List.map (fun r -> r.Training.Curve |> List.filter (fun p -> Double.IsFinite p.Loss))
            |> List.filter (fun c -> c.Length > 1)

        if curves.IsEmpty then
            ""
        else
            let width, height, left, bottom = 240., 140., 34., 18.
            let chance = runs.Head.Training.Chance
            let losses = curves |> List.collect (List.map _.Loss)
            let levels = if Double.IsFinite chance then chance :: losses else losses
            let low, high = List.min levels, List.max levels
            let span = if high > low then high - low else 1.
            let last = curves |> List.collect (List.map _.Step) |> List.max |> float

            let x step =
                left + (width - left - 4.) * step / last

            let y loss =
                4. + (height - bottom - 8.) * (high - loss) / span

            let line i (curve: CurvePoint list) =
                let points =
                    curve
                    |> List.map (fun p -> $"{number (x (float p.Step))},{number (y p.Loss)}")
                    |> String.concat " "

                $"<polyline points=\"{points}\" fill=\"none\" stroke=\"{colours[i % colours.Length]}\" stroke-width=\"1.4\"/>"

            let lines = curves |> List.mapi line |> String.concat ""

            let dashed =
                if Double.IsFinite chance then
                    $"<line x1=\"{number left}\" x2=\"{number width}\" y1=\"{number (y chance)}\" y2=\"{number (y chance)}\" stroke=\"#8a95a8\" stroke-dasharray=\"4 3\"/>"
                else
                    ""

            let text px py anchor s =
                $"<text x=\"{number px}\" y=\"{number py}\" text-anchor=\"{anchor}\" font-size=\"10\" fill=\"#8a95a8\">{s}</text>"

            let axis =
                [
                    text (left - 4.) (y high + 8.) "end" (number high)
                    text (left - 4.) (y low) "end" (number low)
                    text width (height - 4.) "end" $"{last} steps"
                ]
                |> String.concat ""

            $"<figure><svg width=\"{number width}\" height=\"{number height}\" role=\"img\" aria-label=\"loss of {encode title}\">{dashed}{lines}{axis}</svg><figcaption>{encode title}</figcaption></figure>\n"

    /// The whole page.
    let html (recipe: Recipe) (tables: RenderedTable list) (stored: StoredRun list) =
        let b = StringBuilder()
        let add (s: string) = b.Append s |> ignore

        add
            $"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{encode recipe.Name}</title><style>{style}</style></head><body>\n"

        add $"<h1>{encode recipe.Name}</h1>\n<p>{encode recipe.Summary}</p>\n"

        for t in tables do
            add $"<h2>{encode t.Title}</h2>\n"
            add (table t.Headers t.Rows)
            add "<ul>\n"

            for note in t.Notes do
                add $"<li>{encode note}</li>\n"

            add "</ul>\n"

            for caption, path in t.Pictures do
                add
                    $"<details><summary>{encode caption}: what it predicts</summary><img src=\"{encode path}\" alt=\"predictions of {encode caption}\"></details>\n"

            add "<details><summary>Runs</summary>\n"
            add (table t.RunHeaders t.RunRows)
            add "</details>\n"

        let drawings =
            Recipe.runs recipe
            |> List.map (fun run -> drawing run.Title (stored |> List.filter (fun r -> r.RunId = run.Id)))
            |> String.concat ""

        if drawings <> "" then
            add
                $"<h2>Loss</h2>\n<p class=\"small\">One line a seed; dashed: the loss of embeddings without information.</p>\n<div class=\"curves\">\n{drawings}</div>\n"

        add "</body></html>\n"
        b.ToString()

    let private write (path: string) (text: string) =
        if not (File.Exists path) || File.ReadAllText path <> text then
            let temporary = $"{path}.{Environment.ProcessId}.tmp"

            try
                File.WriteAllText(temporary, text)
                File.Move(temporary, path, true)
            finally
                File.Delete temporary

    /// Renders table.md, table.csv and report.html beside runs.jsonl; yields the tables.
    let render (results: string) (recipe: Recipe) : RenderedTable list =
        let store = Store(results, recipe.Name)
        let stored = store.Load().Runs
        let tables = recipe.Tables |> List.map (Render.table stored)
        Directory.CreateDirectory store.Folder |> ignore
        write (Path.Combine(store.Folder, "table.md")) (Markdown.file recipe tables)
        write (Path.Combine(store.Folder, "table.csv")) (Csv.file tables)
        write (Path.Combine(store.Folder, "report.html")) (html recipe tables stored)
        tables

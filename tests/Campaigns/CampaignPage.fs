/// The committed table of a campaign's last run: `docs/campaigns/<name>.md`, with date, machine and commit.
module Tests.Campaigns.CampaignPage

open System
open System.Globalization
open System.IO
open SslResearch
open SslResearch.Core.Runtime
open Tests.Support

let private cells (row: string list) =
    let line = String.concat " | " row
    $"| {line} |"

let private table (header: string list) (rows: string list list) =
    cells header
    :: cells (header |> List.map (fun _ -> "---"))
    :: List.map cells rows

type Page =
    {
        /// Of the file, without folder and extension.
        Name: string
        Title: string
        Intro: string
        Header: string list
        Rows: string list list
        /// Sentences, one a line under the table.
        Notes: string list
    }

/// Prints the page; a whole campaign's is kept under docs/campaigns.
let publish (whole: bool) (page: Page) =
    let hash, dirty = Provenance.commit ()
    let changed = if dirty then ", with uncommitted changes" else ""
    let day = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)

    let lines =
        [
            $"# {page.Title}"
            ""
            page.Intro
            ""
            yield! table page.Header page.Rows
            ""
            for note in page.Notes do
                $"- {note}"
            $"- {day}, {Provenance.cpu ()}, {Environment.ProcessorCount} cores, {Runtime.InteropServices.RuntimeInformation.OSDescription}, .NET {Environment.Version}, libtorch {TorchRuntime.Initialise().Libtorch}; commit {hash}{changed}."
        ]

    lines |> List.iter (printfn "%s")

    if whole then
        let path = Repository.path $"docs/campaigns/{page.Name}.md"
        Directory.CreateDirectory(nonNull (Path.GetDirectoryName path)) |> ignore
        File.WriteAllLines(path, lines)
        printfn $"\nWritten: {path}"

namespace SslResearch

open System.Text

/// docs/methods.md: the catalogue as a page.
[<RequireQualifiedAccess>]
module MethodsPage =
    let private title (card: MethodCard) =
        if card.Year > 0 then
            $"{card.Name} ({card.Year})"
        else
            card.Name

    let private settings (presets: (string * (string * string) list) list) =
        let names = presets |> List.collect (snd >> List.map fst) |> List.distinct

        let row (cells: string list) =
            let text = cells |> List.map _.Replace("|", "\\|") |> String.concat " | "
            $"| {text} |\n"

        if names.IsEmpty then
            ""
        else
            let value name facts =
                facts
                |> List.tryFind (fst >> (=) name)
                |> Option.map snd
                |> Option.defaultValue "–"

            [
                row ("setting" :: List.map fst presets)
                row ("---" :: List.map (fun _ -> "---") presets)

                for name in names do
                    row (name :: [ for _, facts in presets -> value name facts ])
            ]
            |> String.concat ""

    let private section (entry: MethodEntry) =
        let c = entry.Card

        let item name (text: string) =
            if text = "" then "" else $"- **{name}:** {text}\n"

        let b = StringBuilder()
        let add (s: string) = b.Append s |> ignore
        add $"### {title c}\n\n{c.Idea}.\n\n"
        add (item "Source" c.Source)
        add (item "Loss" $"`{c.Equation}`")
        add (item "Views" c.Views)
        add (item "Masking" c.Masking)
        add (item "Negatives" c.Negatives)
        add (item "Batch size" c.BatchSize)
        add (item "Teacher" c.Teacher)
        add (item "Evaluated" c.Evaluated)

        for difference in c.Differences do
            add (item "Differs" difference)

        add "\n"
        let table = settings entry.Presets

        if table <> "" then
            add table
            add "\n"

        b.ToString()

    /// The Markdown of the page.
    let text (catalogue: MethodEntry list) =
        let b = StringBuilder()
        let add (s: string) = b.Append s |> ignore

        add
            "# Methods\n\nRendered from the methods' own records (`Experiments.FSharp/Methods`); `SSLR_UPDATE_GOLDEN=1 ./build.sh Test` writes it anew.\nSettings are fields of the record: `{ X.Default with … }` is an ablation.\n\n"

        for kind, entries in catalogue |> List.groupBy _.Card.Kind do
            let name = MethodKind.describe kind
            add $"## {System.Char.ToUpperInvariant name[0]}{name.Substring 1}\n\n"

            for entry in entries do
                add (section entry)

        b.ToString().TrimEnd() + "\n"

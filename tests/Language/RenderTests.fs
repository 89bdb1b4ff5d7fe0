module Tests.Language.RenderTests

open System
open System.IO
open Expecto
open SslResearch
open Tests.Support

// Golden files lie beside this file; SSLR_UPDATE_GOLDEN=1 writes them anew.
let private golden = Path.Combine(__SOURCE_DIRECTORY__, "Golden")

let private matches name (text: string) =
    let path = Path.Combine(golden, name)

    if Environment.GetEnvironmentVariable "SSLR_UPDATE_GOLDEN" = "1" then
        Directory.CreateDirectory golden |> ignore
        File.WriteAllText(path, text)
    elif not (File.Exists path) then
        failtest $"{path} is missing: run once with SSLR_UPDATE_GOLDEN=1 and look at what it wrote"
    else
        Expect.equal (text.Split '\n') ((File.ReadAllText path).Split '\n') name

/// Run ids move with every field that is added to an experiment; the golden files are to hold still.
let private pinned id (run: Run) = { run with id = lazy id }

let private setting = Samples.setting

let private raw = pinned "aaaaaaaaaaaa" (Run.rawPixels setting)
let private random = pinned "bbbbbbbbbbbb" (Run.randomInit setting)
let private simclr = pinned "cccccccccccc" (Run.ofExperiment Samples.simclr)

let private supervised =
    { Samples.supervised with
        Setting =
            { setting with
                Train = { setting.Train with Epochs = 3 }
            }
    }
    |> Run.ofExperiment
    |> Run.reference
    |> pinned "dddddddddddd"

let private scores a b = [ Samples.knn, a; Samples.probe, b ]

/// The fixed store: what a results file holds, read back from its own lines.
let private stored =
    [
        Samples.stored raw 0 (scores 37.5 41.25)
        Samples.stored random 0 (scores 30. 35.)
        Samples.stored random 1 (scores 31. 36.)
        Samples.stored random 2 (scores 32. 37.)
        Samples.stored simclr 0 (scores 61. 70.5)
        { Samples.stored simclr 2 (scores 63. 71.5) with
            Provenance =
                { (Samples.stored simclr 2 []).Provenance with
                    Commit = "fedcba987654"
                    Dirty = true
                }
        }
        { Samples.stored supervised 0 [] with
            Verdict = "diverged"
        }
    ]
    |> List.map (StoredRun.toJson >> StoredRun.ofJson)

let private comparison =
    Samples.recipe
        "compare"
        [
            Table.compare "Shapes | small" [ raw; random; simclr; supervised ] [ Samples.knn; Samples.probe ]
        ]

let private grid =
    let temperatures =
        Axis.sweep "temperature" [ 0.1; 0.5 ] (fun t e ->
            { e with
                Method = { SimClr.CpuCifar with Temperature = t }
            })

    let table =
        Table.pivot
            "augmentation × temperature"
            Samples.simclr
            (Axis.leaveOneOut (twoViews [ Flip 0.5; Gray 0.2 ]))
            temperatures
            Samples.knn

    match table.Shape with
    | PivotTable p ->
        { table with
            Shape =
                PivotTable
                    { p with
                        Cells = p.Cells |> List.mapi (fun i run -> pinned $"cell{i}" run)
                    }
        }
    | _ -> table

let private gridStored =
    Table.runs grid
    |> List.truncate 5
    |> List.mapi (fun i run ->
        [
            Samples.stored run 0 (scores (50. + float i) 0.)
            Samples.stored run 1 (scores (52. + float i) 0.)
        ])
    |> List.concat

let private render stored (recipe: Recipe) =
    recipe.Tables |> List.map (Render.table stored)

[<Tests>]
let tests =
    testList
        "tables"
        [
            test "a comparison in Markdown" {
                render stored comparison |> Markdown.file comparison |> matches "compare.md"
            }

            test "a comparison in CSV" { render stored comparison |> Csv.file |> matches "compare.csv" }

            test "a pivot in Markdown" {
                let recipe = Samples.recipe "grid" [ grid ]
                render gridStored recipe |> Markdown.file recipe |> matches "pivot.md"
            }

            test "a report in HTML" {
                Report.html comparison (render stored comparison) stored
                |> matches "compare.html"
            }

            test "a table of methods in Markdown" {
                let recipe =
                    Samples.recipe
                        "methods"
                        [ Table.methods "Methods" [ raw; random; simclr; supervised ] [ Samples.knn ] ]

                let stored =
                    stored
                    |> List.map (fun r ->
                        if r.RunId = supervised.Id then
                            { r with
                                Verdict = "collapsed (equal embeddings)"
                                Training =
                                    { r.Training with
                                        Steps = 40L
                                        CollapsedSince = Some 20L
                                    }
                            }
                        else
                            r)

                render stored recipe |> Markdown.file recipe |> matches "methods.md"
            }

            test "a method's own figures stand under the table, its pictures are linked" {
                let run = Run.ofExperiment Samples.simclr

                let stored =
                    [
                        for seed in 0..1 ->
                            { Samples.stored run seed [ Samples.knn, 60. ] with
                                Measures = [ "PSNR in dB", 20. + float seed ]
                                Picture = Some $"pictures/x-s{seed}.png"
                            }
                    ]

                let rendered = Render.table stored (Table.compare "t" [ run ] [ Samples.knn ])
                let markdown = Markdown.table rendered
                Expect.stringContains markdown "PSNR in dB 20.5 ± 6.35" "mean and interval of two"

                Expect.stringContains
                    markdown
                    "[simclr, seed 0](pictures/x-s0.png), [simclr, seed 1](pictures/x-s1.png)"
                    "links"

                let html =
                    Report.html (Samples.recipe "r" [ Table.compare "t" [ run ] [ Samples.knn ] ]) [ rendered ] stored

                Expect.stringContains html "<img src=\"pictures/x-s1.png\"" "picture"
            }

            test "a table without stored runs shows what is missing" {
                let t = Render.table [] (List.head comparison.Tables)

                Expect.isTrue
                    (t.Rows
                     |> List.forall (fun row -> List.forall ((=) "–") (row[row.Length - 2 ..])))
                    "scores"

                Expect.stringContains (String.concat "\n" t.Notes) "simclr (seeds 0, 1, 2)" "note"
            }

            test "rendering is a function of the store alone" {
                let once = render stored comparison |> Markdown.file comparison
                let shuffled = stored |> List.rev
                let again = render shuffled comparison |> Markdown.file comparison
                // Only the order in which machines and versions are listed follows the file.
                Expect.equal again once "order of the lines"
            }

            test "estimates" {
                Expect.equal
                    (TableText.estimate
                        {
                            Mean = 61.249
                            Half = Some 0.96
                            Count = 3
                        })
                    "61.2 ± 1.0"
                    "three"

                Expect.equal (TableText.estimate { Mean = 61.26; Half = None; Count = 1 }) "61.3 (n=1)" "one"
            }

            test "rendered files are written once and then left alone" {
                let folder = Directory.CreateTempSubdirectory "sslr-render-"

                try
                    let store = Store(folder.FullName, "compare")
                    stored |> List.iter store.Append
                    Report.render folder.FullName comparison |> ignore
                    let path = Path.Combine(store.Folder, "table.md")
                    let first = File.GetLastWriteTimeUtc path
                    Report.render folder.FullName comparison |> ignore
                    Expect.equal (File.GetLastWriteTimeUtc path) first "untouched"
                    Expect.isTrue (File.Exists(Path.Combine(store.Folder, "report.html"))) "report"
                    Expect.isTrue (File.Exists(Path.Combine(store.Folder, "table.csv"))) "csv"
                finally
                    folder.Delete true
            }
        ]

module Tests.Language.CliTests

open System
open System.Diagnostics
open System.IO
open Expecto
open SslResearch
open Tests.Support

/// Exit code, what went to standard output, what went to standard error.
let private sslr (recipes: Recipe list) (arguments: string list) =
    let out, error = Console.Out, Console.Error
    use outWriter = new StringWriter()
    use errorWriter = new StringWriter()

    try
        Console.SetOut outWriter
        Console.SetError errorWriter
        let code = Cli.main recipes (List.toArray arguments)
        code, outWriter.ToString(), errorWriter.ToString()
    finally
        Console.SetOut out
        Console.SetError error

let private inFolder (body: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-cli-"

    try
        body folder.FullName
    finally
        folder.Delete true

let private tinySetting: Setting =
    { Samples.setting with
        Data =
            Shapes
                {
                    Train = 40
                    Test = 20
                    Size = 16
                    Seed = 3UL
                    Statistics = Independent
                }
        Protocols = [ KnnVote 3 ]
        Seeds = [ 0; 1 ]
    }

let private tiny =
    Samples.recipe
        "tiny"
        [
            Table.compare "t" [ Run.rawPixels tinySetting; Run.randomInit tinySetting ] [ KnnVote 3 ]
        ]

let private broken =
    let setting =
        { tinySetting with
            Seeds = []
            Protocols = [ KnnVote 0 ]
        }

    Samples.recipe "broken" [ Table.compare "t" [ Run.rawPixels setting ] setting.Protocols ]

let private recipes = [ tiny; broken ]

[<Tests>]
let tests =
    testList
        "command line"
        [
            test "list names recipes and methods, and the runs of one recipe" {
                inFolder (fun folder ->
                    let code, out, _ = sslr recipes [ "list"; "--results"; folder ]
                    Expect.equal code 0 "code"
                    Expect.stringContains out "tiny" "recipe"
                    Expect.stringContains out "0/3" "runs"
                    Expect.stringContains out "SimCLR (2020)" "method"
                    let code, out, _ = sslr recipes [ "list"; "tiny"; "--results"; folder ]
                    Expect.equal code 0 "code"
                    Expect.stringContains out (Run.randomInit tinySetting).Id "run id")
            }

            test "check: 0 for a right recipe, 1 with every problem of a wrong one" {
                inFolder (fun folder ->
                    let code, _, error = sslr recipes [ "check"; "tiny"; "--data"; folder ]
                    Expect.equal (code, error) (0, "") "right"
                    let code, _, error = sslr recipes [ "check"; "broken"; "--data"; folder ]
                    Expect.equal code 1 "wrong"
                    Expect.stringContains error "no seeds" "first"
                    Expect.stringContains error "Protocols[0].k" "second"
                    let code, _, _ = sslr recipes [ "check"; "--data"; folder ]
                    Expect.equal code 1 "all of them"

                    let code, _, error = sslr [ tiny; tiny ] [ "check"; "--data"; folder ]
                    Expect.equal code 1 "a name twice"
                    Expect.stringContains error "2 recipes have this name" "message")
            }

            test "wrong usage is 2, with words" {
                for arguments in
                    [
                        []
                        [ "bogus" ]
                        [ "run" ]
                        [ "run"; "nope" ]
                        [ "run"; "tiny"; "--nope" ]
                        [ "run"; "tiny"; "--threads"; "0" ]
                        [ "run"; "tiny"; "--threads"; "two" ]
                        [ "run"; "tiny"; "--seeds"; "a" ]
                        [ "run"; "tiny"; "--seeds"; "4-2" ]
                        [ "run"; "tiny"; "--only"; "ffffffffffffffff" ]
                        [ "list"; "nope" ]
                        [ "show"; "nope" ]
                        [ "data" ]
                        [ "data"; "import"; "name" ]
                        [ "data"; "fetch"; "x"; "--url"; "http://localhost/x" ]
                    ] do
                    let code, _, error = sslr recipes arguments
                    let shown = String.concat " " arguments
                    Expect.equal code 2 $"'{shown}'"
                    Expect.isNotEmpty error $"'{shown}' says something"
            }

            test "options take their value after a space or an equals sign" {
                inFolder (fun folder ->
                    let results = Path.Combine(folder, "results")

                    let code, _, error =
                        sslr recipes [ "run"; "tiny"; "--seeds=0"; $"--results={results}"; "--threads=1" ]

                    Expect.equal code 0 error
                    let runs = (Store(results, "tiny")).Load().Runs
                    Expect.equal (runs |> List.map _.Seed |> List.distinct) [ 0 ] "seeds"

                    for empty in [ "--seeds="; "--only="; "--results="; "--threads=" ] do
                        let code, _, error = sslr recipes [ "run"; "tiny"; empty ]
                        Expect.equal code 2 empty
                        Expect.isNotEmpty error empty)
            }

            test "results on a file are wrong usage" {
                inFolder (fun folder ->
                    let file = Path.Combine(folder, "file")
                    File.WriteAllText(file, "kept")

                    for verb in [ [ "run"; "tiny" ]; [ "list" ]; [ "tables" ] ] do
                        let code, _, error = sslr recipes (verb @ [ "--results"; file ])
                        Expect.equal code 2 $"{verb}"
                        Expect.stringContains error "that is a file, not a folder" $"{verb}"

                    Expect.equal (File.ReadAllText file) "kept" "untouched")
            }

            test "help is 0" {
                for arguments in [ [ "--help" ]; [ "run"; "--help" ]; [ "data"; "import"; "--help" ] ] do
                    let code, out, _ = sslr recipes arguments
                    Expect.equal code 0 "code"
                    Expect.stringContains out "USAGE" "text"
            }

            test "seeds are lists and ranges" {
                Expect.equal (Cli.parseSeeds "0,1,2") [ 0; 1; 2 ] "list"
                Expect.equal (Cli.parseSeeds "3-5,9,4") [ 3; 4; 5; 9 ] "range"
            }

            test "run stores and renders; a finished run is done at once; a mistake stops before anything runs" {
                inFolder (fun folder ->
                    let results, data = Path.Combine(folder, "results"), Path.Combine(folder, "data")
                    let run = [ "run"; "tiny"; "--results"; results; "--data"; data ]
                    let code, out, error = sslr recipes run
                    Expect.equal code 0 error
                    Expect.stringContains out "3 runs done now, 0 before, 0 failed" "first"
                    Expect.stringContains out "| raw pixels" "table"
                    let store = Path.Combine(results, "tiny")

                    for file in [ "runs.jsonl"; "table.md"; "table.csv"; "report.html" ] do
                        Expect.isTrue (File.Exists(Path.Combine(store, file))) file

                    let clock = Stopwatch.StartNew()
                    let code, out, _ = sslr recipes run
                    Expect.equal code 0 "again"
                    Expect.stringContains out "0 runs done now, 3 before" "again"
                    Expect.isLessThan clock.Elapsed.TotalSeconds 2. "at once"

                    let id = (Run.randomInit tinySetting).Id
                    let code, out, _ = sslr recipes (run @ [ "--only"; id.Substring(0, 6); "--seeds"; "7" ])
                    Expect.equal code 0 "one more seed"
                    Expect.stringContains out "1 runs done now" "one more seed"

                    let code, out, _ = sslr recipes [ "tables"; "tiny"; "--results"; results ]
                    Expect.equal code 0 "tables"
                    Expect.stringContains out "random initialisation" "tables"

                    let code, _, error = sslr recipes [ "run"; "broken"; "--results"; results; "--data"; data ]
                    Expect.equal code 1 "broken"
                    Expect.stringContains error "no seeds" "broken"
                    Expect.isFalse (Directory.Exists(Path.Combine(results, "broken"))) "nothing was begun")
            }

            test "show draws a contact sheet" {
                inFolder (fun folder ->
                    let seen =
                        Samples.recipe
                            "seen"
                            [
                                Table.compare
                                    "t"
                                    [
                                        Run.rawPixels tinySetting
                                        Run.ofExperiment
                                            { Samples.simclr with
                                                Setting = tinySetting
                                            }
                                    ]
                                    [ KnnVote 3 ]
                            ]

                    let path = Path.Combine(folder, "sheet.png")

                    let code, out, error =
                        sslr [ seen; tiny ] [ "show"; "seen"; "--out"; path; "--images"; "3"; "--data"; folder ]

                    Expect.equal code 0 error
                    Expect.stringContains out "first view: crop 0.2–1" "operations"
                    Expect.equal (Array.truncate 4 (File.ReadAllBytes path)) [| 0x89uy; 80uy; 78uy; 71uy |] "a PNG"
                    let code, _, error = sslr [ seen; tiny ] [ "show"; "tiny"; "--data"; folder ]
                    Expect.equal code 2 "baselines have no views"
                    Expect.stringContains error "views" "message")
            }

            test "a missing dataset, an unknown device: one clear message and 1" {
                inFolder (fun folder ->
                    let away =
                        Samples.recipe
                            "away"
                            [
                                Table.compare "t" [ Run.rawPixels { tinySetting with Data = Cifar10 } ] [ KnnVote 3 ]
                            ]

                    let code, _, error = sslr [ away ] [ "run"; "away"; "--results"; folder; "--data"; folder ]
                    Expect.equal code 1 "missing data"
                    Expect.stringContains error "data import cifar10" "how to mend it"

                    let code, _, error =
                        sslr recipes [ "run"; "tiny"; "--device"; "gpu"; "--results"; folder; "--data"; folder ]

                    Expect.equal code 2 "unknown device"
                    Expect.stringContains error "--device gpu: give cpu, cuda or cuda:n" "message")
            }

            test "env tells where libtorch came from" {
                let code, out, _ = sslr recipes [ "env" ]
                Expect.equal code 0 "code"
                Expect.stringContains out "libtorch from" "libtorch"
                Expect.stringContains out "threads" "threads"
            }

            test "data: import, info, verify, and faults in one line" {
                inFolder (fun folder ->
                    let source = Path.Combine(folder, "source")
                    let root = [ "--data"; Path.Combine(folder, "data") ]

                    for split, count in [ "train", 4; "test", 2 ] do
                        for name in [ "cat"; "dog" ] do
                            let classFolder = Path.Combine(source, split, name)
                            Directory.CreateDirectory classFolder |> ignore

                            for i in 1..count do
                                use bitmap = new SkiaSharp.SKBitmap(8, 8)
                                bitmap.Erase(SkiaSharp.SKColor(byte (20 * i), 100uy, 200uy))
                                use png = bitmap.Encode(SkiaSharp.SKEncodedImageFormat.Png, 100)
                                File.WriteAllBytes(Path.Combine(classFolder, $"{i}.png"), png.ToArray())

                    let code, out, error = sslr recipes ([ "data"; "import"; "pets"; source ] @ root)
                    Expect.equal code 0 error
                    Expect.stringContains out "pets/train: 8 images of 8x8x3" "import"
                    let code, out, _ = sslr recipes ([ "data"; "info" ] @ root)
                    Expect.equal code 0 "info"
                    Expect.stringContains out "pets/test: 4 images" "info"
                    let code, out, _ = sslr recipes ([ "data"; "verify"; "pets" ] @ root)
                    Expect.equal code 0 "verify"
                    Expect.stringContains out "verified" "verify"

                    let code, _, error = sslr recipes ([ "data"; "verify"; "birds" ] @ root)
                    Expect.equal code 1 "unknown dataset"
                    Expect.stringContains error "birds" "unknown dataset"

                    let code, _, error =
                        sslr recipes ([ "data"; "import"; "pets"; Path.Combine(folder, "none") ] @ root)

                    Expect.equal code 1 "missing source"
                    Expect.isNotEmpty error "missing source")
            }
        ]

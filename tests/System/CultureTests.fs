module Tests.Framework.CultureTests

open System
open System.IO
open System.Text.RegularExpressions
open Expecto
open Tests.Support

/// A decimal comma; dotted and dotless i; years from 543 before Christ; a lunar calendar; a minus sign that is not ASCII's.
let private cultures = [ "de-DE"; "tr-TR"; "th-TH"; "ar-SA"; "sv-SE" ]

let private expected =
    lazy
        (match CultureLaws.run CultureLaws.invariant with
         | Ok written -> written
         | Error output -> failtest output)

/// Calls of .NET that compare or format in the current culture unless told otherwise, as F# sources write them: there is no analyzer for these.
let private leaks =
    [
        @"\.(StartsWith|EndsWith|IndexOf|LastIndexOf)\b(?!\s*\(?\s*')(?!.*\bOrdinal)(?<!Array\.IndexOf)"
        @"\.(ToLower|ToUpper)\b"
        @"\b(DateTime|TimeSpan|Int32|Int64|Double|Single|Decimal)\.(Try)?Parse(Exact)?\b(?!.*\bInvariantCulture)"
        @"\bDateTime\S*\.ToString\b(?!.*\bInvariantCulture)"
        @"\.ToString\s*\(?\s*\$?""(?!x)(?!.*\bInvariantCulture)"
        @"\bString\.(Compare|Format)\b|\bCurrentCulture\b"
    ]

[<Tests>]
let tests =
    testList
        "cultures"
        [
            for name in cultures do
                test $"in {name}, ids, files, pages, trainings and what commands print are the same" {
                    match CultureLaws.run name with
                    | Error output when output.Contains("ICU", StringComparison.Ordinal) ->
                        skiptest "skipped: no ICU library (libicu)"
                    | Error output -> failtest output
                    | Ok written ->
                        Expect.notEqual written.Witness expected.Value.Witness "the process is in that culture"

                        for (law, text), (_, other) in List.zip expected.Value.Laws written.Laws do
                            let expected, written = text.Split '\n', other.Split '\n'
                            Expect.equal written.Length expected.Length $"{law}: lines"

                            Expect.isEmpty
                                (Array.zip expected written |> Array.filter (fun (a, b) -> a <> b))
                                $"{law}: lines that differ"
                }

            test "the language's sources name the culture wherever .NET would take the current one" {
                let found =
                    [
                        for folder in [ "Experiments.FSharp"; "recipes" ] do
                            for path in Directory.GetFiles(Repository.path folder, "*.fs") do
                                for number, line in File.ReadLines path |> Seq.indexed do
                                    for leak in leaks do
                                        if Regex.IsMatch(line, leak) then
                                            $"{Path.GetFileName path}:{number + 1}: {line.Trim()}"
                    ]

                Expect.isEmpty found "calls that depend on the current culture"
            }
        ]

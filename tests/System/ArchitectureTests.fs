module Tests.Framework.ArchitectureTests

open System.IO
open System.Text.RegularExpressions
open Expecto
open Tests.Support

let private sources folder =
    Directory.GetFiles(Repository.path folder, "*.cs", SearchOption.AllDirectories)
    |> Array.filter (fun f -> not (Regex.IsMatch(f, "/(bin|obj)/")))

let private named (file: string) =
    Path.GetRelativePath(Repository.root, file)

/// What each part of the engine may see of the others.
let private allowed =
    [
        "Runtime", []
        "Views", []
        "Losses", [ "Runtime" ]
        "Models", [ "Models"; "Runtime" ]
        "Augment", [ "Data"; "Runtime"; "Views" ]
        "Data", [ "Augment"; "Runtime"; "Views" ]
        "Methods", [ "Losses"; "Models"; "Runtime"; "Views" ]
        "Training", [ "Augment"; "Data"; "Methods"; "Runtime"; "Views" ]
        "Evaluation", [ "Augment"; "Data"; "Models"; "Runtime" ]
    ]

[<Tests>]
let tests =
    testList
        "architecture"
        [
            test "parts of the engine see only what they may" {
                for folder, may in allowed do
                    for file in sources $"Core.CSharp/{folder}" do
                        for m in Regex.Matches(File.ReadAllText file, @"SslResearch\.Core\.(\w+)") do
                            let other = m.Groups[1].Value

                            if other <> folder && not (List.contains other may) then
                                failtest $"{named file} sees {other}; {folder} may see {may}"
            }

            test "every part is covered" {
                let parts =
                    Directory.GetDirectories(Repository.path "Core.CSharp")
                    |> Array.map Path.GetFileName
                    |> Array.filter (fun f -> f <> "bin" && f <> "obj")
                    |> Set.ofArray

                Expect.equal (allowed |> List.map fst |> Set.ofList) parts "folders of Core.CSharp"
            }

            test "the trainer knows no network, loss or method by name" {
                let concrete =
                    [ "Models"; "Losses"; "Methods" ]
                    |> List.collect (fun f -> sources $"Core.CSharp/{f}" |> Array.toList)
                    |> List.map Path.GetFileNameWithoutExtension
                    |> List.except
                        [
                            "ISslMethod"
                            "LossLevels"
                            "MovingAverage"
                            "StepContext"
                            "StepOutput"
                            "MethodInitialisation"
                            "Backbone"
                        ]

                Expect.contains concrete "SimClr" "the list is not empty by mistake"
                let any = Regex($"""\b({String.concat "|" concrete})\b""")

                let uncommented file =
                    Regex.Replace(File.ReadAllText file, "//.*", "")

                for file in sources "Core.CSharp/Training" do
                    let m = any.Match(uncommented file)
                    Expect.isFalse m.Success $"{named file} names {m.Value}"
            }

            test "the engine knows nothing of experiments and prints nothing" {
                for file in sources "Core.CSharp" do
                    let text = File.ReadAllText file
                    Expect.isFalse (Regex.IsMatch(text, @"\bConsole\.")) $"{named file} prints"
                    Expect.isFalse (Regex.IsMatch(text, "FSharp")) $"{named file} sees F#"
            }

            test "namespaces follow folders" {
                for file in sources "Core.CSharp" do
                    let folder = (Path.GetRelativePath(Repository.path "Core.CSharp", file).Split '/')[0]

                    let m =
                        Regex.Match(
                            File.ReadAllText file,
                            @"^namespace SslResearch\.Core\.([\w.]+);",
                            RegexOptions.Multiline
                        )

                    Expect.isTrue (m.Success && (m.Groups[1].Value.Split '.')[0] = folder) $"{named file}"
            }

            test "public types are documented" {
                let declaration = Regex @"^public .*\b(class|record|struct|enum|interface)\b"

                for file in sources "Core.CSharp" do
                    let lines = File.ReadAllLines file

                    for i, line in Array.indexed lines do
                        if declaration.IsMatch line then
                            let above =
                                lines[.. i - 1]
                                |> Array.rev
                                |> Array.skipWhile (fun l -> l.StartsWith '[')
                                |> Array.tryHead

                            Expect.isTrue
                                (above |> Option.exists _.StartsWith("///"))
                                $"{named file}, line {i + 1}: no documentation"
            }

            test "files stay readable in length" {
                for file in sources "Core.CSharp" do
                    let lines = File.ReadLines file |> Seq.length
                    Expect.isLessThanOrEqual lines 450 (named file)
            }
        ]

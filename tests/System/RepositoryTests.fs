module Tests.Framework.RepositoryTests

open System
open System.IO
open System.Text.RegularExpressions
open System.Xml.Linq
open Expecto
open Tests.Support

let private isText (file: string) =
    [
        ".cs"
        ".fs"
        ".fsx"
        ".fsproj"
        ".csproj"
        ".props"
        ".targets"
        ".sln"
        ".json"
        ".md"
        ".sh"
        ".py"
        ".txt"
    ]
    |> List.contains (Path.GetExtension file)
    || [
        "paket.dependencies"
        "paket.lock"
        "paket.references"
        ".editorconfig"
        ".gitignore"
        "run"
        "LICENSE"
       ]
       |> List.contains (Path.GetFileName file)

let private texts =
    lazy
        ([
            for file in Repository.tracked.Value do
                let full = Repository.path file

                // Results say on which machine they were made.
                if isText file && not (file.StartsWith "results/") && File.Exists full then
                    file, File.ReadAllText full
        ])

let private expectNowhere (pattern: Regex) what =
    for file, text in texts.Value do
        let m = pattern.Match text
        Expect.isFalse m.Success $"{file}: {what}: '{m.Value}'"

let private clean (outcome: Repository.Outcome) =
    Expect.equal outcome.Code 0 $"run ./build.sh Format\n{outcome.All}"

[<Tests>]
let tests =
    testList
        "repository"
        [
            test "no file names a package feed" {
                Expect.isGreaterThan texts.Value.Length 50 "files were found"
                // Written in parts, so that this file does not name one either.
                let patterns = [ @"v3/" + @"index\.json"; @"nuget" + @"\.org"; @"//[\w.]*" + "nuget" ]
                expectNowhere (Regex(String.Join("|", patterns))) "a feed's address"
            }

            test "no file names a folder of somebody's machine" {
                let folders = String.Join("|", [ "ro" + "ot"; "ho" + "me"; "wo" + "rk"; "Us" + "ers" ])
                expectNowhere (Regex $@"(?<![\w.*}}/-])/({folders})/\w") "an absolute path"
            }

            test "the script asks for the version that Paket names" {
                let version (pattern: string) file =
                    Regex.Match(File.ReadAllText(Repository.path file), pattern).Groups[1].Value

                let script = version "#r \"nuget: Fake.Core.Target, ([0-9.]+)\"" "build.fsx"
                Expect.equal script (version "nuget Fake.Core.Target ([0-9.]+)" "paket.dependencies") "versions"
                Expect.isNotEmpty script "found"
            }

            test "the solution holds every project" {
                let solution = (File.ReadAllText(Repository.path "SslResearch.sln")).Replace('\\', '/')

                for file in Repository.tracked.Value do
                    if file.EndsWith ".csproj" || file.EndsWith ".fsproj" then
                        Expect.stringContains solution file "in the solution"
            }

            test "projects name no versions of their own" {
                for file in Repository.tracked.Value do
                    if file.EndsWith ".csproj" || file.EndsWith ".fsproj" then
                        let references =
                            (XDocument.Load(Repository.path file)).Descendants(XName.Get "PackageReference")

                        Expect.isEmpty references $"{file}: packages belong into paket.dependencies"
            }

            test "scripts can be run" {
                if OperatingSystem.IsLinux() then
                    for file in [ "build.sh"; ".ci/run" ] do
                        let mode = File.GetUnixFileMode(Repository.path file)
                        Expect.isTrue (mode.HasFlag UnixFileMode.UserExecute) file
            }

            test "F# sources are formatted" {
                [ "build.fsx"; "Experiments.FSharp"; "recipes"; "tests" ]
                |> List.append [ "fantomas"; "--check" ]
                |> Repository.run Repository.root "dotnet"
                |> clean
            }

            test "C# sources are formatted" {
                [ "format"; "whitespace"; "."; "--folder"; "--verify-no-changes" ]
                |> Repository.run Repository.root "dotnet"
                |> clean
            }

            test "the F# of the README compiles" {
                let readme = File.ReadAllText(Repository.path "README.md")

                let blocks =
                    Regex.Matches(readme, "```fsharp\n(.*?)```", RegexOptions.Singleline)
                    |> Seq.map _.Groups[1].Value
                    |> Seq.toList

                Expect.isNonEmpty blocks "there is an example"

                Repository.inFolder (fun folder ->
                    for i, block in List.indexed blocks do
                        let script = Path.Combine(folder, $"readme{i}.fsx")

                        let references =
                            [ "TorchSharp"; "SslResearch.Core"; "SslResearch"; "sslr" ]
                            |> List.map (fun name -> sprintf "#r @\"%s%s.dll\"" AppContext.BaseDirectory name)
                            |> String.concat "\n"

                        File.WriteAllText(script, $"{references}\n{block}")
                        // Run, not only checked: building an experiment opens no file and makes no tensor.
                        let outcome =
                            Repository.run folder "dotnet" [ "fsi"; "--quiet"; "--warnaserror"; "--exec"; script ]

                        Expect.equal outcome.Code 0 $"{block}\n{outcome.All}")
            }
        ]

// Targets of ./build.sh. The version is the one that group Build of paket.dependencies names.
#r "nuget: Fake.Core.Target, 5.20.3"

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open System.Text
open System.Text.RegularExpressions
open Fake.Core
open Fake.Core.TargetOperators

let root = __SOURCE_DIRECTORY__
let caller = Environment.CurrentDirectory
let inRoot path = Path.Combine(root, path)

exception Failed of code: int * message: string

let fail code message = raise (Failed(code, message))

let start folder (file: string) (arguments: string list) redirect =
    let info =
        ProcessStartInfo(file, WorkingDirectory = folder, UseShellExecute = false, RedirectStandardOutput = redirect)

    arguments |> List.iter info.ArgumentList.Add
    Process.Start info

let check (file: string) (arguments: string list) (child: Process) =
    if child.ExitCode <> 0 then
        let line = String.concat " " (file :: arguments)
        fail child.ExitCode $"'{line}' ended with exit code {child.ExitCode}."

/// Runs a command at the root of the repository.
let run file arguments =
    use child = start root file arguments false
    child.WaitForExit()
    check file arguments child

/// What a command writes to standard output; shown only if it fails.
let output file arguments =
    use child = start root file arguments true
    let text = child.StandardOutput.ReadToEnd()
    child.WaitForExit()

    if child.ExitCode <> 0 then
        eprintf $"{text}"

    check file arguments child
    text

let runQuietly file arguments = output file arguments |> ignore

/// Leaves a command for build.sh, which turns into it when the targets are done.
let goOn file arguments =
    match Environment.GetEnvironmentVariable "SSLR_NEXT" with
    | null -> run file arguments
    | handOver ->
        let words = file :: arguments |> List.map (fun word -> word + "\000")
        File.WriteAllText(handOver, String.concat "" words)

// ---- Packages and builds, each only where something has changed

let read path =
    if File.Exists(inRoot path) then
        File.ReadAllText(inRoot path)
    else
        ""

let write path (text: string) =
    Directory.CreateDirectory(Path.GetDirectoryName(inRoot path)) |> ignore
    File.WriteAllText(inRoot path, text)

let hash (text: string) =
    text |> Encoding.UTF8.GetBytes |> SHA256.HashData |> Convert.ToHexString

let packages () =
    let stamp = "out/stamps/packages"

    let wanted =
        [ ".config/dotnet-tools.json"; "paket.dependencies"; "paket.lock" ]
        |> List.map read
        |> String.concat "\n"
        |> hash

    if read stamp <> wanted || not (File.Exists(inRoot ".paket/Paket.Restore.targets")) then
        eprintfn "Restoring tools and packages …"
        runQuietly "dotnet" [ "tool"; "restore" ]
        runQuietly "dotnet" [ "paket"; "restore" ]
        write stamp wanted

let rec sources folder : string seq =
    seq {
        yield! Directory.EnumerateFiles folder

        for sub in Directory.EnumerateDirectories folder do
            match Path.GetFileName sub with
            | "bin"
            | "obj" -> ()
            | _ -> yield! sources sub
    }

/// Names, sizes and times of everything that a build of these folders reads.
let state folders =
    let everywhere =
        [
            "Directory.Build.props"
            "BannedSymbols.txt"
            ".editorconfig"
            "global.json"
            "paket.lock"
        ]

    Seq.append (Seq.map inRoot everywhere) (folders |> Seq.map inRoot |> Seq.collect sources)
    |> Seq.sort
    |> Seq.map (fun path -> FileInfo path)
    |> Seq.map (fun file -> $"{file.FullName} {file.Length} {file.LastWriteTimeUtc.Ticks}")
    |> String.concat "\n"
    |> hash

let dotnetBuild project =
    eprintfn $"Building {project} …"
    runQuietly "dotnet" [ "build"; project; "-c"; "Release"; "--nologo"; "-v"; "quiet" ]

/// Builds a project in Release if anything it reads has changed.
let build project folders =
    let stamp = $"out/stamps/{project}"
    let before = state folders

    if read stamp <> before then
        dotnetBuild project
        write stamp before

let program project name arguments =
    goOn "dotnet" (inRoot $"{project}/bin/Release/net10.0/{name}.dll" :: arguments)

let sslr arguments = program "recipes" "sslr" arguments

/// What an option is given as `--name VALUE` or `--name=VALUE`, and the arguments without it.
let rec taken name (arguments: string list) =
    match arguments with
    | word :: value :: rest when word = name -> Some value, rest
    | word :: rest when word.StartsWith(name + "=") -> Some(word.Substring(name.Length + 1)), rest
    | word :: rest ->
        let value, others = taken name rest
        value, word :: others
    | [] -> None, []

/// Results belong to the repository, wherever it is called from, unless a folder is named.
let stored (arguments: string list) =
    let given, others = taken "--results" arguments
    let folder = given |> Option.map (fun folder -> Path.GetFullPath(folder, caller))
    others @ [ "--results"; folder |> Option.defaultValue (inRoot "results") ]

// ---- Sweeps: a process for each run, so that one that dies takes no other with it

[<Literal>]
let Interrupted = 130

[<Literal>]
let WrongUsage = 2

let sslrProgram = inRoot "recipes/bin/Release/net10.0/sslr.dll"

/// What `sslr list RECIPE` names: id, title, and whether a seed is still to be done.
let runsOf recipe results =
    let listed = output "dotnet" ([ sslrProgram; "list"; recipe ] @ results)

    Regex.Matches(listed, @"^  (?<id>[0-9a-f]{8,})  (?<title>.*)  \(seeds (?<seeds>.*)\)$", RegexOptions.Multiline)
    |> Seq.map (fun m -> m.Groups["id"].Value, m.Groups["title"].Value)
    |> Seq.toList

let sweep (arguments: string list) =
    let only, others = taken "--only" arguments.Tail
    let recipe, options = arguments.Head, stored others
    let results = options |> List.skip (options.Length - 2)

    // What is listed must be there.
    if not (File.Exists results[1]) then
        Directory.CreateDirectory results[1] |> ignore

    let mutable child: Process option = None
    let mutable stopped = false

    // The child saves its state and leaves with 130; the sweep waits for that and begins nothing more.
    let pass name (signal: PosixSignalContext) =
        signal.Cancel <- true
        stopped <- true

        // An interrupt from the terminal has reached the child already.
        if name = PosixSignal.SIGTERM then
            child
            |> Option.iter (fun c -> Process.Start("kill", [ "-TERM"; string c.Id ]).WaitForExit())

    use _ = PosixSignalRegistration.Create(PosixSignal.SIGINT, pass PosixSignal.SIGINT)
    use _ = PosixSignalRegistration.Create(PosixSignal.SIGTERM, pass PosixSignal.SIGTERM)

    let outcomes =
        [
            for id, title in runsOf recipe results do
                if not stopped && only |> Option.forall id.StartsWith then
                    eprintfn $"{id}  {title}"
                    let words = [ sslrProgram; "run"; recipe; "--only"; id ]
                    use running = start caller "dotnet" (words @ options) false
                    child <- Some running
                    running.WaitForExit()
                    child <- None
                    stopped <- stopped || running.ExitCode = Interrupted
                    title, running.ExitCode
        ]

    if stopped then
        fail Interrupted "the sweep was interrupted; the same command goes on."

    // A run that has none of the wanted seeds is wrong usage for itself, but not for the sweep.
    if outcomes.IsEmpty || outcomes |> List.forall (fun (_, code) -> code = WrongUsage) then
        fail WrongUsage $"'{recipe}' has no run for these options."

    let failures = outcomes |> List.filter (fun (_, code) -> code <> 0 && code <> WrongUsage)

    for title, _ in failures do
        eprintfn $"failed: {title}"

    if not failures.IsEmpty then
        fail 1 $"{failures.Length} runs failed; the same command tries them again."

let format (fantomas: string list) (whitespace: string list) =
    let fsharp =
        [ "build.fsx"; "Experiments.FSharp"; "recipes"; "tests" ]
        |> List.filter (fun path -> Path.Exists(inRoot path))

    run "dotnet" ([ "fantomas" ] @ fantomas @ fsharp)
    run "dotnet" ([ "format"; "whitespace"; "."; "--folder" ] @ whitespace)

// ---- Targets

let arguments = fsi.CommandLineArgs |> Array.toList |> List.tail

Context.FakeExecutionContext.Create false "build.fsx" arguments
|> Context.RuntimeContext.Fake
|> Context.setExecutionContext

// The programs speak for themselves; FAKE's banners would only stand between them and the reader.
CoreTracing.setTraceListeners []

let mutable shown: string list = []

let step name body =
    Target.create name (fun p -> body p.Context.Arguments)

let target name description body =
    Target.description description
    step name body
    shown <- name :: shown

let language = [ "Core.CSharp"; "Experiments.FSharp" ]

step "Packages" (fun _ -> packages ())
step "Program" (fun _ -> build "recipes" (language @ [ "recipes" ]))
step "TestProgram" (fun _ -> build "tests" (language @ [ "recipes"; "tests" ]))
step "BenchProgram" (fun _ -> build "benchmarks" [ "Core.CSharp"; "benchmarks" ])

target "Compare" "Runs the comparison on Shapes, which needs no download, and shows its table." (fun arguments ->
    sslr (stored ("run" :: "compare" :: arguments)))

target "Run" "RECIPE [OPTIONS…]: runs what the recipe still lacks." (fun arguments ->
    sslr (stored ("run" :: arguments)))

target "Sweep" "RECIPE [OPTIONS…]: the same, each run in a process of its own." (fun arguments ->
    sweep arguments

    let results =
        taken "--results" arguments
        |> fst
        |> Option.map (fun folder -> [ "--results"; folder ])

    sslr (stored ("tables" :: arguments.Head :: Option.defaultValue [] results)))

target "Tables" "[RECIPE]: renders the tables from the stored runs." (fun arguments ->
    sslr (stored ("tables" :: arguments)))

target "List" "Names the recipes." (fun arguments -> sslr (stored ("list" :: arguments)))

target "Check" "[RECIPE]: finds mistakes in recipes without running them." (fun arguments ->
    sslr ("check" :: arguments))

target "Show" "RECIPE: draws a contact sheet of its views." (fun arguments -> sslr ("show" :: arguments))
target "Data" "import|fetch|info|verify …: datasets." (fun arguments -> sslr ("data" :: arguments))
target "Env" "Versions, devices, threads, and where libtorch came from." (fun arguments -> sslr ("env" :: arguments))

target "Test" "Runs all tests; the last line counts them. Arguments go to Expecto." (fun arguments ->
    program "tests" "SslResearch.Tests" arguments)

target
    "Campaign"
    "stops|fuzz|memory: every method stopped at every state; damaged inputs by the thousand; memory over long trainings."
    (fun arguments -> program "tests" "SslResearch.Tests" ("campaign" :: arguments))

target
    "Bench"
    "[a b …]: benchmarks by letter or name, alternated with the peer; without arguments all of them."
    (fun arguments -> program "benchmarks" "SslResearch.Benchmarks" arguments)

target "Build" "Builds everything." (fun _ -> dotnetBuild "SslResearch.sln")
target "Format" "Formats all sources." (fun _ -> format [] [])

target "CheckFormat" "Fails where Format would change something." (fun _ ->
    format [ "--check" ] [ "--verify-no-changes" ])

target "Pack" "Packages of Core and the language, into out/packages." (fun _ ->
    for project in language do
        runQuietly "dotnet" [ "pack"; project; "-c"; "Release"; "--nologo"; "-o"; inRoot "out/packages" ])

for name in [ "Compare"; "Run"; "Sweep"; "Tables"; "List"; "Check"; "Show"; "Data"; "Env" ] do
    "Packages" ==> "Program" ==> name |> ignore

"Packages" ==> "TestProgram" ==> "Test" |> ignore
"TestProgram" ==> "Campaign" |> ignore
"Packages" ==> "BenchProgram" ==> "Bench" |> ignore

for name in [ "Build"; "Format"; "CheckFormat"; "Pack" ] do
    "Packages" ==> name |> ignore

// ---- Entry

let rec innermost (e: exn) =
    match e, e.InnerException with
    | Failed _, _
    | _, null -> e
    | _, inner -> innermost inner

let report error =
    match error with
    | Failed(code, message) ->
        eprintfn $"build.sh: {message}"
        code
    | other ->
        eprintfn $"build.sh: {other}"
        1

/// Recipes are asked for before anything is built.
let checkUsage target (arguments: string list) =
    let needsRecipe = List.contains target [ "Run"; "Sweep"; "Show" ]

    if needsRecipe && (arguments.IsEmpty || arguments.Head.StartsWith '-') then
        fail 2 $"Usage: ./build.sh {target} RECIPE [OPTIONS…]. './build.sh List' names the recipes."

let main (arguments: string list) =
    match arguments with
    | []
    | [ "--help" ]
    | [ "-h" ] ->
        printfn "Usage: ./build.sh TARGET [ARGUMENTS…]\n"

        for name in List.rev shown do
            printfn $"  {name, -12} {(Target.get name).Description |> Option.defaultValue String.Empty}"

        0
    | name :: rest ->
        match
            shown
            |> List.tryFind (fun t -> t.Equals(name, StringComparison.OrdinalIgnoreCase))
        with
        | None ->
            let all = List.rev shown |> String.concat ", "
            eprintfn $"build.sh: there is no target '{name}'. Targets: {all}."
            2
        | Some known ->
            checkUsage known rest
            let out = Console.Out
            Console.SetOut TextWriter.Null
            let outcome = Target.WithContext.run 1 known rest
            Console.SetOut out

            match outcome.Context |> Option.map _.ErrorTargets with
            | None
            | Some [] -> 0
            | Some((error, _) :: _) -> report (innermost error)

let code =
    try
        main arguments
    with Failed _ as error ->
        report error

exit code

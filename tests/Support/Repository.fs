/// The checkout that the tests were built from, and programs run in processes of their own.
module Tests.Support.Repository

open System
open System.Diagnostics
open System.IO

/// Folder that holds the solution.
let root =
    let rec up folder =
        if File.Exists(Path.Combine(folder, "SslResearch.sln")) then
            folder
        else
            match Path.GetDirectoryName folder with
            | null -> failwith "the tests run from within the repository"
            | parent -> up parent

    up (AppContext.BaseDirectory.TrimEnd '/')

/// Debug or Release: what the tests were built as.
let configuration =
    if AppContext.BaseDirectory.Contains "/Release/" then
        "Release"
    else
        "Debug"

let path (relative: string) = Path.Combine(root, relative)

/// What a program left behind.
type Outcome =
    {
        Code: int
        Output: string
        Errors: string
    }

    member o.All = o.Output + o.Errors

/// Runs a program to its end, with more environment variables.
let runWith (environment: (string * string) list) folder (program: string) (arguments: string list) =
    let info =
        ProcessStartInfo(
            program,
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false
        )

    arguments |> List.iter info.ArgumentList.Add

    for name, value in environment do
        info.Environment[name] <- value

    use child = Process.Start info
    let errors = child.StandardError.ReadToEndAsync()
    let output = child.StandardOutput.ReadToEnd()
    child.WaitForExit()

    {
        Code = child.ExitCode
        Output = output
        Errors = errors.Result
    }

let run folder program arguments = runWith [] folder program arguments

/// The command line program beside the tests.
let sslr arguments =
    run root "dotnet" (Path.Combine(AppContext.BaseDirectory, "sslr.dll") :: arguments)

/// A new folder that is gone afterwards.
let inFolder (body: string -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-test-"

    try
        body folder.FullName
    finally
        folder.Delete true

/// Files under version control; without git, all but build outputs.
let tracked =
    lazy
        (let listed =
            try
                let git = run root "git" [ "ls-files"; "-z" ]
                if git.Code = 0 then Some git.Output else None
            with :? ComponentModel.Win32Exception ->
                None

         match listed with
         | Some names -> names.Split('\000', StringSplitOptions.RemoveEmptyEntries) |> Array.toList
         | None ->
             let built = [ "bin"; "obj"; "out"; ".git"; ".paket"; "paket-files" ]

             Directory.GetFiles(root, "*", SearchOption.AllDirectories)
             |> Array.map (fun f -> Path.GetRelativePath(root, f))
             |> Array.filter (fun f -> f.Split '/' |> Array.forall (fun part -> not (List.contains part built)))
             |> Array.toList)

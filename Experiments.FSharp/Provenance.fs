namespace SslResearch

open System
open System.Diagnostics
open System.IO
open SslResearch.Core.Runtime

/// What a stored run says of the program and the machine.
[<RequireQualifiedAccess; CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Provenance =
    let private git (arguments: string list) =
        try
            let info =
                ProcessStartInfo(
                    "git",
                    WorkingDirectory = AppContext.BaseDirectory,
                    RedirectStandardOutput = true,
                    RedirectStandardError = true
                )

            arguments |> List.iter info.ArgumentList.Add
            use child = Process.Start info
            let output = child.StandardOutput.ReadToEnd()
            child.WaitForExit()
            if child.ExitCode = 0 then Some(output.Trim()) else None
        with :? ComponentModel.Win32Exception ->
            None

    let private cpuName =
        lazy
            (let path = "/proc/cpuinfo"

             let named =
                 if File.Exists path then
                     File.ReadLines path
                     |> Seq.tryFind _.StartsWith("model name", StringComparison.Ordinal)
                 else
                     None

             match named with
             | Some line -> line.Substring(line.IndexOf ':' + 1).Trim()
             | None -> Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString())

    let private head =
        lazy
            (match git [ "rev-parse"; "--short=12"; "HEAD" ] with
             | None -> "unknown", false
             | Some hash ->
                 let changes =
                     git
                         [
                             "status"
                             "--porcelain"
                             "--untracked-files=no"
                             "--"
                             ":/"
                             ":(top,exclude)results"
                             ":(top,exclude)benchmarks/results"
                             ":(top,exclude)benchmarks/RESULTS.md"
                         ]

                 hash, changes <> Some "")

    let private version (t: Type) =
        match t.Assembly.GetName().Version with
        | null -> "unknown"
        | version -> version.ToString 3

    /// Model name of the processor.
    let cpu () = cpuName.Value

    /// The commit that the program was built in, and whether tracked files outside the results differ from it.
    let commit () = head.Value

    /// Versions of everything that has a say in the numbers.
    let versions (runtime: RuntimeInfo) =
        [
            "sslr", version typeof<Run>
            "TorchSharp", runtime.TorchSharp
            "libtorch", runtime.Libtorch
            ".NET", Environment.Version.ToString()
        ]

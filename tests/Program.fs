module Tests.Program

open System
open Expecto
open Expecto.Impl

/// All tests of this assembly; the arguments are Expecto's.
let private test argv =
    SslResearch.Core.Runtime.TorchRuntime.Initialise() |> ignore
    let counts = ref None

    let printer =
        { TestPrinters.defaultPrinter with
            summary =
                fun config summary ->
                    async {
                        do! TestPrinters.defaultPrinter.summary config summary
                        let failures = summary.failed.Length + summary.errored.Length
                        counts.Value <- Some(summary.passed.Length, failures, summary.ignored.Length)
                    }
        }

    let colours = if Console.IsOutputRedirected then 0 else 256

    let code =
        runTestsInAssemblyWithCLIArgs [ Sequenced; No_Spinner; Colours colours; Printer printer ] argv

    let complaints =
        if Array.isEmpty argv then
            Tests.Framework.ConformanceTests.complaints ()
        else
            []

    for complaint in complaints do
        eprintfn $"reference values: {complaint}"

    // Expecto pads Console.Out and ends with a colour code; the count must be a line of its own.
    match counts.Value with
    | Some(passed, failed, skipped) ->
        Console.Out.Flush()
        use out = Console.OpenStandardOutput()
        let line = $"\n{passed} passed, {failed + complaints.Length} failed, {skipped} skipped\n"
        out.Write(Text.Encoding.UTF8.GetBytes(line).AsSpan())
    | None -> ()

    if complaints.IsEmpty then code else max code 1

[<EntryPoint>]
let main argv =
    match Array.toList argv with
    | "sslr" :: rest ->
        SslResearch.Cli.main [ Tests.Support.TinyRecipe.recipe; Tests.Support.MethodKit.recipe () ] (List.toArray rest)
    | "campaign" :: rest ->
        SslResearch.Core.Runtime.TorchRuntime.Initialise() |> ignore

        match rest with
        | "stops" :: _ -> Tests.Campaigns.Stops.main rest
        | ("memory" | "memory-of") :: _ -> Tests.Campaigns.Memory.main rest
        | _ -> Tests.Campaigns.Fuzz.main rest
    | "stop-at" :: rest -> Tests.Support.StopAt.child rest
    | "culture" :: rest -> Tests.Framework.CultureLaws.child rest
    | _ -> test argv

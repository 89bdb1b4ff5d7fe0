module Tests.Program

open Expecto

[<EntryPoint>]
let main argv =
    SslResearch.Core.Runtime.TorchRuntime.Initialise() |> ignore
    runTestsInAssemblyWithCLIArgs [ Sequenced ] argv

/// A recipe of a few seconds, and this test program as its command line: `SslResearch.Tests.dll sslr run tiny`.
module Tests.Support.TinyRecipe

open System
open System.Diagnostics
open SslResearch

let private setting =
    {
        Data =
            Shapes
                {
                    Train = 768
                    Test = 128
                    Size = 16
                    Seed = 3UL
                    Statistics = Independent
                }
        Backbone =
            {
                Block = Basic
                Blocks = [ 1; 1 ]
                Width = 8
                Stem = CifarStemStride2
            }
        Train =
            { Train.CpuScale with
                Epochs = 10
                BatchSize = 64
            }
        Protocols = [ Knn(k = 5, temperature = 0.1); LinearProbe(epochs = 20) ]
        Seeds = [ 0 ]
    }

let recipe =
    {
        Name = "tiny"
        Summary = "a real training of a few seconds"
        Tables =
            [
                Table.compare
                    "tiny"
                    [
                        Run.ofExperiment
                            {
                                Name = "SimCLR"
                                Setting = setting
                                Augment = twoViews [ CropTo(12, 0.2, 1.0); Flip 0.5; Jitter(0.8, 0.5); Gray 0.2 ]
                                Method = SimClr.CpuCifar
                            }
                    ]
                    setting.Protocols
            ]
    }

/// Starts `sslr` with the tiny recipe in a process of its own.
let start (arguments: string list) =
    let info =
        ProcessStartInfo(nonNull Environment.ProcessPath, RedirectStandardOutput = true, RedirectStandardError = true)

    if (nonNull Environment.ProcessPath).EndsWith "dotnet" then
        info.ArgumentList.Add(Reflection.Assembly.GetExecutingAssembly().Location)

    info.ArgumentList.Add "sslr"
    arguments |> List.iter info.ArgumentList.Add
    nonNull (Process.Start info)

/// Waits for its end: exit code and everything it printed.
let finish (child: Process) =
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEndAsync()
    child.WaitForExit()
    child.ExitCode, output.Result + errors.Result

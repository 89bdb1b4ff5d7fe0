/// Mistakes that the compiler must find, with the code of its complaint. All of them go through one run of the SDK's compiler.
module Tests.Language.MustNotCompile

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open Expecto

let private shared =
    """
open SslResearch

let setting =
    { Data = Cifar10
      Backbone = ResNet18
      Train = Train.CpuScale
      Protocols = [ Knn(k = 20, temperature = 0.1) ]
      Seeds = [ 0 ] }

let view = [ ResizedCrop(0.2, 1.0); Flip 0.5; Jitter(0.8, 0.5); Gray 0.2 ]
let contrast = { SimClr.Default with Temperature = 0.1 }
let contrastive = { Name = "a"; Setting = setting; Augment = twoViews view; Method = SimClr.Default }
let labels = { Name = "b"; Setting = setting; Augment = labelled view; Method = Supervised }
let temperatures = Axis.sweep "temperature" [ 0.1; 0.5 ] (fun t e -> { e with Method = { SimClr.Default with Temperature = t } })
"""

/// Name, the line, and the expected codes; no code for what must compile.
let private snippets =
    [
        "a right pivot compiles",
        "let table = Table.pivot \"t\" contrastive (Axis.leaveOneOut contrastive.Augment) temperatures (Knn(k = 20, temperature = 0.1))",
        []

        "a right comparison compiles",
        "let table = Table.compare \"t\" [ Run.ofExperiment contrastive; Run.ofExperiment labels; Run.rawPixels setting ] setting.Protocols",
        []

        "a method of other views",
        "let e = { Name = \"c\"; Setting = setting; Augment = labelled view; Method = contrast }",
        [ "FS0001" ]

        "a method of other views, written in place",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Supervised }",
        [ "FS0001" ]

        "a method of other views, put into a copy", "let e = { contrastive with Method = Supervised }", [ "FS0001" ]

        "an augmentation of other views",
        "let e : Experiment<SslResearch.Core.Views.LabelledView> = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Supervised }",
        [ "FS0001" ]

        "DINO on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Dino.Default }",
        [ "FS0193"; "FS0001" ]

        "SwAV on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Swav.Default }",
        [ "FS0193"; "FS0001" ]

        "rotation on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Rotation.Default }",
        [ "FS0193"; "FS0001" ]

        "jigsaw on rotated views",
        "let e = { Name = \"c\"; Setting = setting; Augment = rotated view; Method = Jigsaw.Default }",
        [ "FS0193"; "FS0001" ]

        "colorization on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Colorization.Default }",
        [ "FS0193"; "FS0001" ]

        "SimCLR on multi-crop",
        "let e = { Name = \"c\"; Setting = setting; Augment = multiCrop view view 2; Method = SimClr.Default }",
        [ "FS0193"; "FS0001" ]

        "BYOL on multi-crop",
        "let e = { Name = \"c\"; Setting = setting; Augment = multiCrop view view 2; Method = Byol.Default }",
        [ "FS0193"; "FS0001" ]

        "SimCLR on rotated views",
        "let e = { Name = \"c\"; Setting = setting; Augment = rotated view; Method = SimClr.Default }",
        [ "FS0193"; "FS0001" ]

        "every method on its own views compiles",
        "let r = [ Run.ofExperiment { Name = \"d\"; Setting = setting; Augment = multiCrop view view 2; Method = Dino.Default }; Run.ofExperiment { Name = \"r\"; Setting = setting; Augment = rotated view; Method = Rotation.Default }; Run.ofExperiment { Name = \"j\"; Setting = setting; Augment = patches 8 1 view; Method = Jigsaw.Default }; Run.ofExperiment { Name = \"l\"; Setting = setting; Augment = lab 4 view; Method = Colorization.Default } ]",
        []

        "an axis of other views", "let cells = Grid.cells labels [ temperatures ]", [ "FS0001" ]

        "a pivot whose axes differ in views",
        "let table = Table.pivot \"t\" contrastive (Axis.leaveOneOut labels.Augment) temperatures (Knn(k = 20, temperature = 0.1))",
        [ "FS0001" ]

        "a missing field",
        "let s : Setting = { Data = Cifar10; Backbone = ResNet18; Train = Train.CpuScale; Seeds = [ 0 ] }",
        [ "FS0764" ]

        "a misspelt field", "let m = { SimClr.Default with Temprature = 0.5 }", [ "FS1129" ]

        "MAE on one view that hides nothing",
        "let e = { Name = \"c\"; Setting = setting; Augment = oneView view; Method = Mae.Default }",
        [ "FS0193"; "FS0001" ]

        "MAE on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = Mae.Default }",
        [ "FS0193"; "FS0001" ]

        "SimMIM on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = SimMim.Default }",
        [ "FS0193"; "FS0001" ]

        "SimCLR on masked views",
        "let e = { Name = \"c\"; Setting = setting; Augment = masked 4 0.75 view; Method = SimClr.Default }",
        [ "FS0193"; "FS0001" ]

        "a dVAE on masked views",
        "let e = { Name = \"c\"; Setting = setting; Augment = masked 4 0.75 view; Method = Dvae.Default }",
        [ "FS0193"; "FS0001" ]

        "BEiT on one view",
        "let e = { Name = \"c\"; Setting = setting; Augment = oneView view; Method = Beit.Default(Run.randomInit setting) }",
        [ "FS0193"; "FS0001" ]

        "I-JEPA on one view",
        "let e = { Name = \"c\"; Setting = setting; Augment = oneView view; Method = IJepa.Default }",
        [ "FS0193"; "FS0001" ]

        "I-JEPA on masked views",
        "let e = { Name = \"c\"; Setting = setting; Augment = masked 4 0.75 view; Method = IJepa.Default }",
        [ "FS0193"; "FS0001" ]

        "SimCLR on context and targets",
        "let e = { Name = \"c\"; Setting = setting; Augment = contextTargets 4 TargetBlocks.Default view; Method = SimClr.Default }",
        [ "FS0193"; "FS0001" ]

        "iBOT on crops without masks",
        "let e = { Name = \"c\"; Setting = setting; Augment = multiCrop view view 2; Method = Ibot.Default }",
        [ "FS0193"; "FS0001" ]

        "DINOv2 on masked single views",
        "let e = { Name = \"c\"; Setting = setting; Augment = masked 4 0.75 view; Method = DinoV2.Default }",
        [ "FS0193"; "FS0001" ]

        "DINO on masked crops",
        "let e = { Name = \"c\"; Setting = setting; Augment = maskedCrops 4 (multiCrop view view 2); Method = Dino.Default }",
        [ "FS0193"; "FS0001" ]

        "next frame on two views",
        "let e = { Name = \"c\"; Setting = setting; Augment = twoViews view; Method = NextFrame.Default }",
        [ "FS0193"; "FS0001" ]

        "SimCLR on clips",
        "let e = { Name = \"c\"; Setting = setting; Augment = clips (ShapesInMotion { Train = 10; Test = 10; Size = 32; Frames = 4; Seed = 1UL; Statistics = Independent }) [ Flip 0.5 ]; Method = SimClr.Default }",
        [ "FS0193"; "FS0001" ]

        "masked and predictive methods on their own views compile",
        "let e1 = { Name = \"c\"; Setting = setting; Augment = masked 4 0.75 view; Method = Mae.CpuCifar }\nlet e2 = { Name = \"c\"; Setting = setting; Augment = maskedBlocks 4 0.4 5 view; Method = Beit.Default(Run.randomInit setting) }\nlet e3 = { Name = \"c\"; Setting = setting; Augment = contextTargets 4 TargetBlocks.Default view; Method = IJepa.CpuCifar }\nlet e4 = { Name = \"c\"; Setting = setting; Augment = maskedCrops 4 (multiCrop view view 2); Method = DinoV2.CpuCifar }\nlet e5 = { Name = \"c\"; Setting = setting; Augment = clips (ShapesInMotion { Train = 10; Test = 10; Size = 32; Frames = 4; Seed = 1UL; Statistics = Independent }) [ Flip 0.5 ]; Method = NextFrame.CpuShapes }",
        []

        "a rate that does not say how it scales", "let t = { Train.CpuScale with Rate = 0.12 }", [ "FS0001" ]

        "a probability without a value", "let ops : Op list = [ Flip ]", [ "FS0002" ]

        "an operation among protocols", "let s = { setting with Protocols = [ Flip 0.5 ] }", [ "FS0193" ]

        "a run made by hand", "let r : Run = { name = \"x\" }", [ "FS1093" ]
    ]

let private compiler () =
    let runtime = Path.GetDirectoryName(typeof<obj>.Assembly.Location)
    let root = Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."))
    let version = Environment.Version.Major

    Directory.GetDirectories(Path.Combine(root, "sdk"))
    |> Array.filter (fun d -> Path.GetFileName(d).StartsWith $"{version}.")
    |> Array.map (fun d -> Path.Combine(d, "FSharp", "fsc.dll"))
    |> Array.filter File.Exists
    |> Array.sortDescending
    |> Array.tryHead
    |> Option.map (fun fsc -> Path.Combine(root, "dotnet"), fsc, runtime)

/// Codes by file name.
let private compile (dotnet: string, fsc: string, runtime: string) (files: (string * string) list) =
    let folder = Directory.CreateTempSubdirectory "sslr-fsc-"

    try
        for name, text in files do
            File.WriteAllText(Path.Combine(folder.FullName, name), text)

        let references =
            [
                yield! Directory.GetFiles(runtime, "System*.dll")
                Path.Combine(runtime, "mscorlib.dll")
                Path.Combine(runtime, "netstandard.dll")

                for name in [ "FSharp.Core"; "SslResearch"; "SslResearch.Core"; "TorchSharp" ] do
                    Path.Combine(AppContext.BaseDirectory, name + ".dll")
            ]

        let arguments =
            [
                "--typecheckonly"
                "--noframework"
                "--targetprofile:netcore"
                "--target:library"
                "--nologo"
                "--simpleresolution"
                "--flaterrors"
                "--maxerrors:1000"
                for r in references do
                    "-r:" + r
                for name, _ in files do
                    Path.Combine(folder.FullName, name)
            ]

        let response = Path.Combine(folder.FullName, "fsc.rsp")
        File.WriteAllLines(response, arguments)
        let info = ProcessStartInfo(dotnet, RedirectStandardOutput = true, RedirectStandardError = true)
        info.ArgumentList.Add fsc
        info.ArgumentList.Add("@" + response)
        use child = Process.Start info
        let errors = child.StandardError.ReadToEndAsync()
        let output = child.StandardOutput.ReadToEnd() + errors.Result
        child.WaitForExit()

        output,
        [
            for m in Regex.Matches(output, @"([A-Za-z0-9]+\.fs)\(\d+,\d+\): error (FS\d+)") ->
                m.Groups[1].Value, m.Groups[2].Value
        ]
    finally
        folder.Delete true

[<Tests>]
let tests =
    let results =
        lazy
            (match compiler () with
             | None -> None
             | Some tools ->
                 let files =
                     ("Shared.fs", "module Shared\n" + shared)
                     :: (snippets
                         |> List.mapi (fun i (_, line, _) ->
                             $"S{i}.fs", $"module S{i}\nopen SslResearch\nopen Shared\n{line}\n"))

                 Some(compile tools files))

    testList
        "must not compile"
        [
            for i, (name, _, expected) in List.indexed snippets do
                testCase name (fun () ->
                    match results.Value with
                    | None -> skiptest "skipped: no F# compiler beside the runtime"
                    | Some(output, found) ->
                        let shared = found |> List.filter (fst >> (=) "Shared.fs")
                        Expect.isEmpty shared $"the common part compiles: {output}"
                        let codes = found |> List.filter (fst >> (=) $"S{i}.fs") |> List.map snd |> List.distinct

                        if expected.IsEmpty then
                            Expect.isEmpty codes $"compiles: {output}"
                        else
                            Expect.isNonEmpty codes $"does not compile: {output}"

                            Expect.isTrue
                                (List.contains codes.Head expected)
                                $"expected one of {expected}, received {codes}: {output}")
        ]

namespace SslResearch

open System
open System.Globalization
open Argu
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.CommandLine

/// The verbs of `sslr data`.
module internal DataCommands =
    let private importProgress () =
        let gate = obj ()
        let clock = Diagnostics.Stopwatch.StartNew()
        let mutable next = TimeSpan.FromSeconds 2.

        { new IProgress<ImportReport> with
            member _.Report r =
                lock gate (fun () ->
                    if clock.Elapsed >= next then
                        next <- clock.Elapsed + TimeSpan.FromSeconds 5.
                        let total = if r.Total.HasValue then $" of {r.Total.Value}" else ""
                        say $"  {r.Stage}: {r.Done}{total}")
        }

    let private list (numbers: float seq) =
        numbers
        |> Seq.map (fun x -> x.ToString("F4", CultureInfo.InvariantCulture))
        |> String.concat " "

    /// What an experiment is tested on.
    let private tellTest (root: string) (name: string) =
        match Option.ofObj (DatasetCatalogue.TestSplit(root, name)) with
        | Some "test" -> ()
        | Some other -> say $"{name}: no test split; {other} serves as one."
        | None ->
            say
                $"{name}: no test split. Add one (sslr data import {name} SOURCE --split test), or hold out a part of the training split in the recipe: HeldOut(Data.imported \"{name}\", 0.1)."

    /// With what the packs hold: images, or clips.
    let private imported (root: string) (cut: ClipCut option) (outcome: ImportOutcome) =
        for path in outcome.Skipped do
            complain $"left out: {path}"

        if outcome.LeftOut.Count > 0 then
            let reasons = outcome.LeftOut |> Seq.map string |> String.concat ", "
            complain $"left out: {reasons}"

        for split in outcome.Splits do
            let content =
                match cut with
                | Some cut -> $"clips of {cut.Frames} frames of {FrameStrip.Frame split.Shape}"
                | None -> $"images of {split.Shape}"

            let labels =
                match (DatasetCatalogue.Info(root, outcome.Name, split.Split)).ClassNames.Count with
                | 0 -> "no labels"
                | 1 -> "1 class"
                | n -> $"{n} classes"

            say
                $"{outcome.Name}/{split.Split}: {split.Count} {content}, {labels}, fingerprint {split.Fingerprint.Substring(0, 12)}, {split.Path}"

        tellTest root outcome.Name

        if outcome.Skipped.Count > 0 then
            let what =
                if cut.IsSome then
                    "frames left out, and their clips"
                else
                    "images left out"

            say $"{outcome.Skipped.Count} corrupt {what}."

    let private resizeRule (text: string option) : ResizeRule =
        let fail text =
            raise (UsageError $"--resize {text}: give a size such as 32, or 32x48 (height x width).")

        let size (all: string) (s: string) =
            match Int32.TryParse(s, NumberStyles.Integer, CultureInfo.InvariantCulture) with
            | true, n when n > 0 -> n
            | _ -> fail all

        match text with
        | None -> ResizeRule.None()
        | Some text ->
            match text.Split 'x' with
            | [| one |] -> ResizeRule.ShorterSideThenCentreCrop(size text one)
            | [| h; w |] -> ResizeRule.Exact(size text h, size text w)
            | _ -> fail text

    let private clipCut (args: ParseResults<ImportArguments>) : ClipCut option =
        let atLeast least name (value: int option) =
            match value with
            | Some n when n < least -> raise (UsageError $"{name} {n}: give {least} or more.")
            | value -> value

        match
            args.TryGetResult ImportArguments.Frames |> atLeast FrameStrip.Fewest "--frames",
            args.TryGetResult ImportArguments.Frame_Stride |> atLeast 1 "--frame-stride"
        with
        | None, None -> None
        | None, Some _ -> raise (UsageError "--frame-stride belongs to --frames: say how many frames a clip has.")
        | Some frames, stride -> Some(ClipCut(frames, defaultArg stride 1))

    /// Shows every split of one dataset or of all; a damaged one does not keep the others back.
    let private inspect
        (dataDir: string option)
        (name: string option)
        (look: string -> string -> string -> DatasetInfo)
        stats
        =
        let root = dataRoot dataDir
        let mutable broken = 0

        let guarded work =
            try
                work ()
            with :? DataException as e ->
                broken <- broken + 1
                complain e.Message

        let show name split =
            let info = look root name split

            let labels =
                if info.ClassNames.Count = 0 then
                    "no labels"
                else
                    let perClass = info.PerClass |> Seq.map string |> Seq.truncate 10 |> String.concat " "
                    let more = if info.PerClass.Count > 10 then " …" else ""
                    $"{info.ClassNames.Count} classes ({perClass}{more})"

            say
                $"{info.Name}/{info.Split}: {info.Count} images of {info.Shape}, {labels}, fingerprint {info.Fingerprint}"

            if stats then
                let s = DatasetCatalogue.Statistics(root, name, split)
                say $"  mean {list s.Mean}, deviation {list s.Deviation}"

        let names =
            match name with
            | Some name -> [ name ]
            | None -> DatasetCatalogue.List root |> Seq.toList

        say $"data root: {root}"

        if names.IsEmpty then
            say "no datasets"

        for name in names do
            guarded (fun () ->
                match DatasetCatalogue.Splits(root, name) |> Seq.toList with
                | [] -> DatasetCatalogue.Open(root, name, "train").Dispose()
                | splits ->
                    for split in splits do
                        guarded (fun () -> show name split)

                    if not (DatasetCatalogue.IsRendered name) then
                        tellTest root name)

        if broken = 0 then ExitCode.Success else ExitCode.Failure

    let run (args: ParseResults<DataArguments>) =
        match args.GetSubCommand() with
        | DataArguments.Import args ->
            let name, source = args.GetResult ImportArguments.Source
            let cut = clipCut args
            let root = dataRoot (args.TryGetResult ImportArguments.Data)

            let options =
                ImportOptions(
                    args.TryGetResult ImportArguments.Split |> Option.toObj,
                    resizeRule (args.TryGetResult ImportArguments.Resize),
                    args.TryGetResult ImportArguments.Channels |> Option.toNullable,
                    args.Contains ImportArguments.Skip_Corrupt,
                    args.TryGetResult ImportArguments.Sha256 |> Option.toObj,
                    Clips = Option.toObj cut,
                    Replace = args.Contains ImportArguments.Replace,
                    IgnoreOrientation = args.Contains ImportArguments.Ignore_Orientation
                )

            withSignals (fun stop ->
                Importers.Import(name, source, root, options, importProgress (), stop)
                |> imported root cut)

            ExitCode.Success
        | DataArguments.Fetch args ->
            let name = args.GetResult FetchArguments.Name
            let root = dataRoot (args.TryGetResult FetchArguments.Data)
            let sha256 = args.TryGetResult FetchArguments.Sha256

            let options =
                ImportOptions(
                    args.TryGetResult FetchArguments.Split |> Option.toObj,
                    resizeRule (args.TryGetResult FetchArguments.Resize),
                    args.TryGetResult FetchArguments.Channels |> Option.toNullable,
                    args.Contains FetchArguments.Skip_Corrupt,
                    null,
                    Replace = args.Contains FetchArguments.Replace,
                    IgnoreOrientation = args.Contains FetchArguments.Ignore_Orientation
                )

            withSignals (fun stop ->
                let progress = importProgress ()

                let fetching =
                    match args.TryGetResult FetchArguments.Url, sha256 with
                    | None, None -> DatasetFetcher.FetchAsync(name, root, options, progress, stop)
                    | Some url, Some sha256 ->
                        match Uri.TryCreate(url, UriKind.Absolute) with
                        | true, address when address.Scheme = "http" || address.Scheme = "https" ->
                            DatasetFetcher.FetchAsync(name, address, sha256, root, options, progress, stop)
                        | _ -> raise (UsageError $"--url {url}: give an http or https address.")
                    | _ -> raise (UsageError "--url and --sha256 belong together.")

                fetching.GetAwaiter().GetResult() |> imported root None)

            ExitCode.Success
        | DataArguments.Info args ->
            inspect
                (args.TryGetResult InfoArguments.Data)
                (args.TryGetResult InfoArguments.Name)
                (fun root name split -> DatasetCatalogue.Info(root, name, split))
                (args.Contains InfoArguments.Stats)
        | DataArguments.Verify args ->
            let code =
                inspect
                    (args.TryGetResult VerifyArguments.Data)
                    (args.TryGetResult VerifyArguments.Name)
                    (fun root name split -> DatasetCatalogue.Verify(root, name, split))
                    false

            if code = ExitCode.Success then
                say "verified"

            code

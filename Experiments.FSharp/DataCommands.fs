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

    /// With what the packs hold: images, or clips.
    let private imported (cut: ClipCut option) (outcome: ImportOutcome) =
        for path in outcome.Skipped do
            complain $"left out: {path}"

        for split in outcome.Splits do
            let content =
                match cut with
                | Some cut -> $"clips of {cut.Frames} frames of {FrameStrip.Frame split.Shape}"
                | None -> $"images of {split.Shape}"

            say
                $"{outcome.Name}/{split.Split}: {split.Count} {content}, fingerprint {split.Fingerprint.Substring(0, 12)}, {split.Path}"

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

    let run (args: ParseResults<DataArguments>) =
        let inspect (args: ParseResults<InspectArguments>) (look: string -> string -> string -> DatasetInfo) =
            let root = dataRoot (args.TryGetResult InspectArguments.Data)

            let names =
                match args.TryGetResult InspectArguments.Name with
                | Some name -> [ name ]
                | None -> DatasetCatalogue.List root |> Seq.toList

            say $"data root: {root}"

            if names.IsEmpty then
                say "no datasets"

            for name in names do
                match DatasetCatalogue.Splits(root, name) |> Seq.toList with
                | [] -> DatasetCatalogue.Open(root, name, "train").Dispose()
                | splits ->
                    for split in splits do
                        let info = look root name split
                        let classes = info.PerClass |> Seq.map string |> Seq.truncate 10 |> String.concat " "
                        let more = if info.PerClass.Count > 10 then " …" else ""

                        say
                            $"{info.Name}/{info.Split}: {info.Count} images of {info.Shape}, {info.ClassNames.Count} classes ({classes}{more}), fingerprint {info.Fingerprint}"

            ExitCode.Success

        match args.GetSubCommand() with
        | DataArguments.Import args ->
            let name, source = args.GetResult ImportArguments.Source
            let cut = clipCut args

            let options =
                ImportOptions(
                    args.TryGetResult ImportArguments.Split |> Option.toObj,
                    resizeRule (args.TryGetResult ImportArguments.Resize),
                    args.TryGetResult ImportArguments.Channels |> Option.toNullable,
                    args.Contains ImportArguments.Skip_Corrupt,
                    args.TryGetResult ImportArguments.Sha256 |> Option.toObj,
                    Clips = Option.toObj cut,
                    IgnoreOrientation = args.Contains ImportArguments.Ignore_Orientation
                )

            withSignals (fun stop ->
                Importers.Import(
                    name,
                    source,
                    dataRoot (args.TryGetResult ImportArguments.Data),
                    options,
                    importProgress (),
                    stop
                )
                |> imported cut)

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

                fetching.GetAwaiter().GetResult() |> imported None)

            ExitCode.Success
        | DataArguments.Info args -> inspect args (fun root name split -> DatasetCatalogue.Info(root, name, split))
        | DataArguments.Verify args ->
            let code = inspect args (fun root name split -> DatasetCatalogue.Verify(root, name, split))
            say "verified"
            code

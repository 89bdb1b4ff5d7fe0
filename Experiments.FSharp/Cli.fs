namespace SslResearch

open System
open System.Globalization
open System.IO
open System.Runtime.InteropServices
open System.Runtime.Intrinsics
open System.Threading
open Argu
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.CommandLine

/// The command line over a list of recipes.
[<RequireQualifiedAccess>]
module Cli =
    let private find (recipes: Recipe list) name =
        match recipes |> List.filter (fun r -> r.Name = name) with
        | [ recipe ] -> recipe
        | _ :: _ as same ->
            raise (
                ResultsException
                    $"{same.Length} recipes have the name '{name}' and would share a results folder. Rename one."
            )
        | [] ->
            let known = recipes |> List.map _.Name |> String.concat ", "
            raise (UsageError $"There is no recipe '{name}'. There are: {known}.")

    /// A folder that is made where there is none.
    let private resultsFolder (given: string option) =
        match given with
        | Some "" -> raise (UsageError "--results is empty: name a folder.")
        | Some file when File.Exists file -> raise (UsageError $"--results {file}: that is a file, not a folder.")
        | _ -> given |> Option.defaultValue "results"

    /// A folder that is only read; one that was named must be there.
    let private existingResults (given: string option) =
        let folder = resultsFolder given

        if given.IsSome && not (Directory.Exists folder) then
            raise (UsageError $"--results {folder}: there is no such folder.")

        folder

    /// What `--only` names.
    let private onlyId (given: string option) =
        match given with
        | Some id when String.IsNullOrWhiteSpace id ->
            raise (UsageError "--only is empty: give the beginning of a run's id, or leave it out for all runs.")
        | given -> given

    /// A device by its form alone: whether it is there shows when it is needed.
    let private deviceName (given: string) =
        let number =
            given.StartsWith("cuda:", StringComparison.Ordinal)
            && fst (UInt16.TryParse(given.AsSpan 5))

        if given = "cpu" || given = "cuda" || number then
            given
        else
            raise (UsageError $"--device {given}: give cpu, cuda or cuda:n.")

    /// More threads than this help nowhere, and starting them takes longer than the work.
    let private mostThreads = max 64 (4 * Environment.ProcessorCount)

    /// More seeds than this are a slip of the hand.
    let private mostSeeds = 10_000

    /// 0,1,2 or 0-4 or both.
    let parseSeeds (text: string) : int list =
        let fail () =
            raise (UsageError $"--seeds {text}: give numbers of 0 or above, such as 0,1,2 or 0-4.")

        let number (s: string) =
            match Int32.TryParse(s, NumberStyles.Integer, CultureInfo.InvariantCulture) with
            | true, n when n >= 0 -> n
            | _ -> fail ()

        text.Split ','
        |> Array.toList
        |> List.collect (fun part ->
            match part.Split '-' with
            | [| one |] -> [ number one ]
            | [| first; last |] when number last - number first >= mostSeeds ->
                raise (UsageError $"--seeds {text}: give at most {mostSeeds} seeds.")
            | [| first; last |] when number first <= number last -> [ number first .. number last ]
            | _ -> fail ())
        |> List.distinct

    // ---- list, check, tables

    let private stored results (recipe: Recipe) =
        (Store(results, recipe.Name)).Load().Runs

    let private list recipes (args: ParseResults<ListArguments>) =
        let results = existingResults (args.TryGetResult ListArguments.Results)
        let isDone = Contents.isDone (Contents.present (dataRoot None))

        let counts (recipe: Recipe) =
            let runs = stored results recipe

            let wanted =
                [
                    for run in Recipe.runs recipe do
                        yield! run.Seeds |> List.map (fun s -> run, s)
                ]

            (wanted |> List.filter (isDone runs)).Length, wanted.Length

        match args.TryGetResult ListArguments.Recipe with
        | Some name ->
            let recipe = find recipes name
            let runs = stored results recipe
            say $"{recipe.Name}: {recipe.Summary}"

            for run in Recipe.runs recipe do
                let seeds =
                    run.Seeds
                    |> List.map (fun s -> if isDone runs (run, s) then $"{s} done" else string s)

                let seeds = String.concat ", " seeds
                say $"  {run.Id}  {run.Title}  (seeds {seeds})"
        | None ->
            let width = recipes |> List.map _.Name.Length |> List.fold max 0
            say "Recipes (done/wanted runs):"

            for recipe in recipes do
                let finished, wanted = counts recipe
                say $"  {recipe.Name.PadRight width}  {finished}/{wanted}  {recipe.Summary}"

            say ""
            say "Methods:"

            for card in Methods.catalogue |> List.map _.Card do
                let year = if card.Year > 0 then $" ({card.Year})" else ""
                say $"  {card.Name}{year}: {card.Idea}; negatives: {card.Negatives}"

        ExitCode.Success

    let private report (problems: Problem list) =
        for problem in problems do
            complain (problem.ToString())

    /// What only a look at the data and a batch of each run can tell.
    let private rehearsed root device torchLibrary (runs: Run list) =
        match Datasets.problems root runs with
        | [] when not runs.IsEmpty ->
            TorchRuntime.Initialise(Option.toObj torchLibrary) |> ignore
            Rehearsal.problems root device runs
        | problems -> problems

    let private check (recipes: Recipe list) (args: ParseResults<CheckArguments>) =
        let root = dataRoot (args.TryGetResult CheckArguments.Data)

        let chosen, problems =
            match args.TryGetResult CheckArguments.Recipe with
            | Some name -> [ find recipes name ], []
            | None -> recipes, SslResearch.Check.recipes recipes

        let alone = args.Contains CheckArguments.Recipe

        let found =
            problems
            @ [
                for recipe in chosen do
                    let problems = SslResearch.Check.recipe recipe

                    let data =
                        if problems.IsEmpty then
                            rehearsed root "cpu" None (Recipe.runs recipe)
                        else
                            []

                    yield! Problem.within recipe.Name (problems @ (if alone then data else []))

                    if not alone then
                        for problem in data do
                            say $"note: {recipe.Name}: {problem}"

                    if problems.IsEmpty && (data.IsEmpty || not alone) then
                        say $"{recipe.Name}: no problems in {(Recipe.runs recipe).Length} runs"
            ]

        report found
        if found.IsEmpty then ExitCode.Success else ExitCode.Failure

    let private paths results (recipe: Recipe) =
        let file name =
            Path.Combine(results, recipe.Name, name)

        let md, csv, html = file "table.md", file "table.csv", file "report.html"
        $"{md}, {csv}, {html}"

    let private tables (recipes: Recipe list) (args: ParseResults<TablesArguments>) =
        let results = existingResults (args.TryGetResult TablesArguments.Results)

        let wanted =
            match args.TryGetResult TablesArguments.Recipe with
            | Some name -> [ find recipes name ]
            | None -> recipes

        let chosen =
            wanted
            |> List.filter (fun r -> File.Exists(Path.Combine(results, r.Name, "runs.jsonl")))

        if chosen.IsEmpty then
            let whose =
                args.TryGetResult TablesArguments.Recipe
                |> Option.map (fun name -> $" of '{name}'")
                |> Option.defaultValue ""

            say $"No stored runs{whose} under '{results}'."

        let present = Contents.present (dataRoot None)

        for recipe in chosen do
            for table in Report.renderOn present results recipe do
                say (Markdown.table table)

            say $"Written: {paths results recipe}"

        ExitCode.Success

    // ---- run

    let private atLeast least name (value: int) =
        if value < least then
            raise (UsageError $"{name} {value}: give {least} or more.")

        value

    let private atMost most name (value: int) =
        if value > most then
            raise (UsageError $"{name} {value}: give {most} or fewer.")

        value

    let private run recipes (args: ParseResults<RunArguments>) =
        let recipe = find recipes (args.GetResult RunArguments.Recipe)
        let root = dataRoot (args.TryGetResult RunArguments.Data)

        let options =
            {
                Results = resultsFolder (args.TryGetResult RunArguments.Results)
                DataRoot = root
                Device = args.GetResult(RunArguments.Device, "cpu") |> deviceName
                Threads =
                    args.TryGetResult RunArguments.Threads
                    |> Option.map (atLeast 1 "--threads" >> atMost mostThreads "--threads")
                Workers =
                    args.TryGetResult RunArguments.Workers
                    |> Option.map (atLeast 1 "--workers" >> atMost mostThreads "--workers")
                    |> Option.defaultValue (max 1 (Environment.ProcessorCount / 4))
                TorchLibrary = args.TryGetResult RunArguments.Torch_Lib
                CheckpointEvery =
                    args.GetResult(RunArguments.Checkpoint_Every, 200)
                    |> atLeast 1 "--checkpoint-every"
                Only = args.TryGetResult RunArguments.Only |> onlyId
                Seeds = args.TryGetResult RunArguments.Seeds |> Option.map parseSeeds
            }

        match SslResearch.Check.recipe recipe with
        | [] ->
            let wanted, missing = Execute.missing recipe options (stored options.Results recipe)

            if wanted.IsEmpty then
                raise (
                    UsageError
                        $"No run of '{recipe.Name}' fits --only and --seeds; `sslr list {recipe.Name}` names them."
                )

            let lacking = missing |> List.map fst |> List.distinctBy _.Id

            match rehearsed root options.Device options.TorchLibrary lacking with
            | [] ->
                let work stop reporter =
                    Execute.recipe recipe options reporter stop

                let present = Contents.present options.DataRoot

                let rendered () =
                    Report.renderOn present options.Results recipe

                let isLive = not (missing.IsEmpty || Console.IsOutputRedirected)

                let result =
                    withSignalsTold (if isLive then ignore else complain) (fun stop ->
                        if not isLive then
                            Progress.lines say |> Progress.rendering (rendered >> ignore) |> work stop
                        else
                            let done' = stored options.Results recipe

                            let before =
                                wanted
                                |> List.choose (Contents.find present done')
                                |> List.filter StoredRun.isComplete

                            let protocols =
                                Recipe.runs recipe
                                |> List.collect _.Setting.Protocols
                                |> List.map Protocol.name
                                |> List.distinct

                            Progress.rendering (rendered >> ignore)
                            >> work stop
                            |> Progress.live stopping protocols before stop)

                if result.Interrupted then
                    complain "Stopped with everything saved; the same command goes on from here."
                    ExitCode.Interrupted
                else
                    for table in rendered () do
                        say (Markdown.table table)

                    say $"{result.Done} runs done now, {result.Before} before, {result.Failed} failed."
                    say $"Written: {paths options.Results recipe}"

                    if result.Failed > 0 then
                        ExitCode.Failure
                    else
                        ExitCode.Success
            | problems ->
                report problems
                ExitCode.Failure
        | problems ->
            report problems
            ExitCode.Failure

    // ---- show

    /// The picture that a finished run left.
    let private showTrained (recipe: Recipe) only (args: ParseResults<ShowArguments>) =
        let store = Store(existingResults (args.TryGetResult ShowArguments.Results), recipe.Name)

        let seed = args.TryGetResult ShowArguments.Seed

        let drawn =
            [
                for run in store.Load().Runs do
                    match run.Picture with
                    | Some picture when
                        run.RunId.StartsWith(only, StringComparison.Ordinal)
                        && seed |> Option.forall ((=) run.Seed)
                        ->
                        run, store.File picture
                    | _ -> ()
            ]

        match drawn with
        | [] ->
            raise (
                UsageError
                    $"No finished run of '{recipe.Name}' that fits has a picture of what it predicts; methods that reconstruct or predict images leave one when they end (`sslr run {recipe.Name}`)."
            )
        | (run, picture) :: _ ->
            if not (File.Exists picture) then
                raise (
                    UsageError $"{picture} is gone, though the results name it: restore it from where the results came."
                )

            match args.TryGetResult ShowArguments.Out with
            | Some path ->
                WholeFile.Write(path, File.ReadAllBytes picture)
                say $"Written: {path}"
            | None -> say $"{run.Name}, seed {run.Seed}: {picture}"

    /// A sheet of more is no picture that a person looks at.
    let private mostShown = 100

    let private mostEpochs = 20

    let private show recipes (args: ParseResults<ShowArguments>) =
        let recipe = find recipes (args.GetResult ShowArguments.Recipe)
        let only = args.TryGetResult ShowArguments.Only |> onlyId |> Option.defaultValue ""

        match
            Recipe.runs recipe
            |> List.filter (fun run -> run.Id.StartsWith(only, StringComparison.Ordinal) && not run.Views.IsEmpty)
        with
        | _ when args.Contains ShowArguments.Trained ->
            showTrained recipe only args
            ExitCode.Success
        | [] ->
            raise (
                UsageError
                    $"No run of '{recipe.Name}' with views fits --only; `sslr list {recipe.Name}` names its runs."
            )
        | run :: _ ->
            use data = Datasets.openSplits (dataRoot (args.TryGetResult ShowArguments.Data)) run.Setting.Data

            let images =
                args.GetResult(ShowArguments.Images, 8)
                |> atLeast 1 "--images"
                |> atMost mostShown "--images"
                |> min data.Train.Count

            let epochs =
                args.GetResult(ShowArguments.Epochs, 3)
                |> atLeast 1 "--epochs"
                |> atMost mostEpochs "--epochs"

            let seed = args.GetResult(ShowArguments.Seed, 0) |> atLeast 0 "--seed"
            let path = args.GetResult(ShowArguments.Out, recipe.Name + ".png")
            let normalisation = Data.normalisation data.Train run.Setting.Data

            let views =
                [|
                    for _, ops in run.Views -> Augmentation.pipeline data.Train.Shape normalisation ops
                |]

            let options =
                ContactSheetOptions(
                    $"{recipe.Name}: {run.Title}, {Data.describe run.Setting.Data}, seed {seed}",
                    [| for i in 0 .. images - 1 -> int64 i |],
                    uint64 seed,
                    [| 0 .. epochs - 1 |]
                )

            ContactSheet.Write(path, data.Train, views, options)
            say $"Written: {path}"

            for name, ops in run.Views do
                let words = ops |> List.map Op.describe |> String.concat ", "
                say $"{name}: {words}"

            ExitCode.Success

    // ---- env

    let private env (args: ParseResults<EnvArguments>) =
        let runtime = TorchRuntime.Initialise(args.TryGetResult EnvArguments.Torch_Lib |> Option.toObj)

        for name, version in Provenance.versions runtime do
            say $"{name} {version}"

        let how =
            if runtime.Given then
                $" (named by --torch-lib or {TorchRuntime.LibraryVariable})"
            else
                ""

        say $"libtorch from {runtime.Folder}{how}"

        let patched =
            if runtime.Patched then
                "a patched copy for this libstdc++"
            else
                "as packaged"

        say $"TorchSharp's native part: {patched}"

        let cuda =
            if TorchSharp.torch.cuda.is_available () then
                TorchSharp.torch.cuda.device_count ()
            else
                0

        say $"devices: cpu ({Environment.ProcessorCount} cores), {cuda} CUDA"

        let kernels =
            if Vector512.IsHardwareAccelerated then
                "our own, 512-bit vectors"
            else
                "mostly torch's, no 512-bit vectors"

        say $"kernels on the CPU: {kernels}"
        say $"threads inside one operation: {TorchSharp.torch.get_num_threads ()}"
        say $"system: {RuntimeInformation.OSDescription}, {RuntimeInformation.RuntimeIdentifier}"
        let root = dataRoot (args.TryGetResult EnvArguments.Data)
        say $"data root: {root}"
        ExitCode.Success

    let private dispatch recipes (results: ParseResults<Arguments>) =
        match results.GetSubCommand() with
        | Arguments.List args -> list recipes args
        | Arguments.Check args -> check recipes args
        | Arguments.Run args -> run recipes args
        | Arguments.Tables args -> tables recipes args
        | Arguments.Show args -> show recipes args
        | Arguments.Data args -> DataCommands.run args
        | Arguments.Env args -> env args

    /// The whole program: parses, does, and yields the exit code.
    let main (recipes: Recipe list) (argv: string[]) : int =
        let parser = ArgumentParser.Create<Arguments>(programName = "sslr")

        try
            parser.ParseCommandLine(argv, raiseOnUsage = true) |> dispatch recipes
        with
        | :? ArguParseException as e when e.ErrorCode = ErrorCode.HelpText ->
            say e.Message
            ExitCode.Success
        | :? ArguParseException as e ->
            complain e.Message
            ExitCode.WrongUsage
        | UsageError message ->
            complain message
            ExitCode.WrongUsage
        | :? OperationCanceledException -> ExitCode.Interrupted
        | error ->
            complain (Faults.message error)
            ExitCode.Failure

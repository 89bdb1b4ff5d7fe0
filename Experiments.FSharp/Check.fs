namespace SslResearch

/// What types cannot rule out, found before the first step and all at once.
[<RequireQualifiedAccess>]
module Check =
    let private seeds (seeds: int list) =
        [
            if seeds.IsEmpty then
                Problem.make "Seeds" "no seeds" "Give at least one"

            for seed, count in List.countBy id seeds do
                if count > 1 then
                    Problem.make "Seeds" $"seed {seed} {count} times" "Give each seed once"

            for seed in seeds do
                if seed < 0 then
                    Problem.make "Seeds" $"seed {seed}" "Give seeds of 0 or above"
        ]

    let private protocols (run: Run) =
        [
            let protocols = run.Setting.Protocols

            if protocols.IsEmpty then
                Problem.make "Protocols" "no protocols: nothing would be scored" "Give at least one"

            for protocol, count in List.countBy id protocols do
                if count > 1 then
                    Problem.make "Protocols" $"{Protocol.name protocol} {count} times" "Give each protocol once"

            for i, protocol in List.indexed protocols do
                let where = $"Protocols[{i}]"
                yield! Protocol.problems protocol |> Problem.within where

                match Protocol.scoring protocol, Data.trainCount run.Setting.Data with
                | (Knn(k, _) | KnnVote k), Some bank when k > bank ->
                    Problem.make (where + ".k") $"{k} neighbours from a bank of {bank} images" $"Give at most {bank}"
                | Tuned o, Some images when o.Train.BatchSize > images ->
                    Problem.make
                        (where + ".Train.BatchSize")
                        $"{o.Train.BatchSize} images a batch, but only {images} in the training split"
                        "Make the batch smaller"
                | _ -> ()

                let layer = Protocol.layer protocol

                if run.Kind = Experiment && not (Run.serves run layer) then
                    if layer = Protocol.Projection then
                        Problem.make
                            where
                            "asks for z, but the method has no projection head"
                            "Score h, or give the method one"
                    else
                        let known = run.layers |> String.concat ", "
                        Problem.make where $"no layer '{layer}' in this encoder" $"Name one of {known}, or z"
        ]

    let private canonical (run: Run) =
        try
            run.Id |> ignore
            []
        with CanonicalException(path, _) as e ->
            [
                Problem.make path e.Message "Keep what is not plain data out of the experiment's records"
            ]

    /// Problems of one run, by path inside its experiment.
    let private inside (run: Run) =
        let setting = run.Setting

        [
            yield! Data.problems setting.Data |> Problem.within "Setting.Data"

            if Data.isClips setting.Data then
                Problem.make
                    "Setting.Data"
                    "clips, but encoders are scored on still images"
                    "Give still images here, and the clips to the augmentation: clips DATA OPS"

            if run.Kind <> RawPixels then
                yield! setting.Backbone.Problems |> Problem.within "Setting.Backbone"

                yield!
                    Data.side setting.Data
                    |> Option.toList
                    |> List.collect setting.Backbone.SideProblems
                    |> Problem.within "Setting.Backbone"

            if run.Kind = Experiment then
                yield! Train.problems setting.Train |> Problem.within "Setting.Train"

                match Data.trainCount run.TrainData with
                | Some images when setting.Train.BatchSize > images ->
                    Problem.make
                        "Setting.Train.BatchSize"
                        $"{setting.Train.BatchSize} images a batch, but only {images} in the training split"
                        "Make the batch smaller or the data larger"
                | _ -> ()

            yield! seeds setting.Seeds |> Problem.within "Setting"
            yield! protocols run |> Problem.within "Setting"
            yield! run.check ()
            yield! canonical run
        ]

    /// Problems of single runs.
    let runs (runs: Run list) : Problem list =
        runs
        |> List.collect (fun run -> inside run |> List.map (fun p -> run.Title, p))
        |> Problem.gathered

    let private identified (runs: Run list) =
        runs |> List.filter (fun run -> (canonical run).IsEmpty)

    /// What a comparison holds fixed and its rows do not.
    let private fixedSettings (runs: Run list) =
        let differing name (value: Run -> string option) =
            let values = runs |> List.choose (fun run -> value run |> Option.map (fun v -> v, run.Title))

            match values |> List.map fst |> List.distinct with
            | []
            | [ _ ] -> []
            | distinct ->
                let shown =
                    distinct
                    |> List.map (fun v -> $"{v} ({values |> List.find (fun (w, _) -> w = v) |> snd})")
                    |> String.concat ", "

                [
                    Problem.make
                        name
                        $"differs between rows of one comparison: {shown}"
                        "Use one setting, or mark the odd row by Run.reference"
                ]

        let trained (run: Run) =
            run.Kind = Experiment && not run.IsReference

        [
            yield! differing "Setting.Data" (fun run -> Some(Data.describe run.Setting.Data))

            yield!
                differing "Setting.Backbone" (fun run ->
                    if run.Kind = RawPixels || run.IsReference then
                        None
                    else
                        Some run.Setting.Backbone.Describe)

            yield!
                differing "Setting.Protocols" (fun run ->
                    Some(run.Setting.Protocols |> List.map Protocol.name |> String.concat " + "))

            yield!
                differing "Setting.Train.Epochs" (fun run ->
                    if trained run then
                        Some(string run.Setting.Train.Epochs)
                    else
                        None)

            yield!
                differing "Setting.Train.BatchSize" (fun run ->
                    if trained run then
                        Some(string run.Setting.Train.BatchSize)
                    else
                        None)
        ]

    let private table (table: Table) =
        let runs = Table.runs table

        [
            if runs.IsEmpty then
                Problem.make "" "no rows" "Give at least one run"

            for id, same in identified runs |> List.groupBy _.Id do
                if same.Length > 1 then
                    let titles = same |> List.map _.Title |> String.concat " and "

                    Problem.make
                        ""
                        $"{titles} are the same run ({id}): nothing that changes a result tells them apart"
                        "Drop one, or change what was meant to differ"

            let wanted =
                match table.Shape with
                | Comparison(_, protocols)
                | MethodTable(_, protocols) -> protocols
                | PivotTable pivot -> [ pivot.Protocol ]

            if wanted.IsEmpty then
                Problem.make "" "no scores" "Name at least one protocol"

            for protocol in wanted do
                match
                    runs
                    |> List.filter (fun run -> not (List.contains protocol run.Setting.Protocols))
                with
                | [] -> ()
                | lacking ->
                    Problem.make
                        ""
                        $"the column {Protocol.name protocol} is not among the protocols of {lacking.Head.Title}"
                        "Add it to Setting.Protocols"

            match table.Shape with
            | Comparison(runs, _)
            | MethodTable(runs, _) ->
                yield! fixedSettings runs

                for title, count in runs |> List.countBy (fun run -> run.Title.Trim()) do
                    if title = "" then
                        Problem.make "Name" "a row without a name" "Name every row"
                    elif count > 1 then
                        Problem.make
                            "Name"
                            $"{count} rows named '{title}'"
                            "Give each row a name of its own, by Run.named"
            | PivotTable pivot ->
                if pivot.Rows.IsEmpty || pivot.Columns.IsEmpty then
                    Problem.make "" "an axis without values" "Give each axis at least one value"

                for axis, labels in [ pivot.RowAxis, pivot.Rows; pivot.ColumnAxis, pivot.Columns ] do
                    for label, count in List.countBy id labels do
                        if count > 1 then
                            Problem.make axis $"the value {label} {count} times" "Give each value once"
        ]
        |> Problem.within $"table \"{table.Title}\""

    /// All problems of a recipe.
    let recipe (recipe: Recipe) : Problem list =
        [
            yield!
                Problem.unless
                    (recipe.Name <> ""
                     && recipe.Name
                        |> Seq.forall (fun c -> System.Char.IsAsciiLetterOrDigit c || c = '-' || c = '_'))
                    "Name"
                    $"the recipe name '{recipe.Name}'"
                    "Use letters, digits, - and _: it names a folder"

            if recipe.Name = "work" then
                Problem.make
                    "Name"
                    "the recipe name 'work'"
                    "Give another: work files of all recipes lie in the folder of that name"

            if recipe.Tables.IsEmpty then
                Problem.make "Tables" "no tables, so nothing to run" "Give at least one"

            yield! recipe.Tables |> List.collect Table.runs |> List.collect Run.withNeeds |> runs
            yield! recipe.Tables |> List.collect table
        ]

    /// Recipes that would share a results folder.
    let recipes (recipes: Recipe list) =
        [
            for name, count in recipes |> List.countBy _.Name do
                if count > 1 then
                    Problem.make name $"{count} recipes have this name" "Rename one"
        ]

/// What is the same in every culture, written as files into a folder by a process of that culture:
/// `SslResearch.Tests.dll culture NAME FOLDER`.
module Tests.Framework.CultureLaws

open System
open System.Globalization
open System.IO
open System.Text.Json
open System.Threading
open SslResearch
open SslResearch.Core.Training
open TorchSharp
open Tests.Support

/// The culture without data of its own, which every process has.
let invariant = "invariant"

/// What does depend on the culture: a process that writes it like the invariant one shows nothing.
let private witness () =
    let culture = CultureInfo.CurrentCulture
    let moment = DateTime(2026, 3, 4, 5, 6, 7, DateTimeKind.Utc)

    [
        (-1234.5).ToString("N1", culture)
        moment.ToString("yyyy-MM-dd", culture)
        "title".ToUpper culture
        (-3).ToString culture
    ]
    |> String.concat "\n"

let private stored =
    lazy
        { Samples.stored (Run.ofExperiment Samples.simclr) 0 [ Samples.knn, 60.25; Samples.probe, 1234.5 ] with
            Name = "ä, i, İ, z"
            Labels = [ "temperature", "0.5"; "İ", "ı" ]
            Measures = [ "PSNR in dB", -21.5 ]
        }

let private runIds _ =
    [
        for recipe in Recipes.All.recipes do
            for run in Recipe.runs recipe do
                $"{recipe.Name} {run.Id} {run.TrainId}\n{run.CanonicalText}"
    ]
    |> String.concat "\n"

let private json _ =
    let line = StoredRun.toJson stored.Value
    let again = line |> StoredRun.ofJson |> StoredRun.toJson
    $"{line}\n{again}"

let private pages _ =
    let recipe =
        Samples.recipe
            "pages"
            [
                Table.compare "pages" [ Run.ofExperiment Samples.simclr ] [ Samples.knn; Samples.probe ]
            ]

    let tables = recipe.Tables |> List.map (Render.table [ stored.Value ])

    [
        Markdown.file recipe tables
        Csv.file tables
        Report.html recipe tables [ stored.Value ]
    ]
    |> String.concat "\n"

let private safetensors (folder: string) =
    let path = Path.Combine(folder, "weights.safetensors")
    use a = torch.arange (-3.5, 2.5, 0.5, torch.float32)
    use b = torch.ones ([| 2L; 3L |], torch.int64)

    Safetensors.Write(
        path,
        dict [ "i", a; "I", b; "ä", a; "z", b ],
        Collections.Generic.Dictionary(dict [ "i", "1"; "İ", "2"; "ı", "3"; "Z", "4" ])
    )

    Convert.ToHexStringLower(Security.Cryptography.SHA256.HashData(File.ReadAllBytes path))

let private recent (moment: DateTime) =
    if abs (DateTime.UtcNow - moment).TotalHours < 1. then
        "now"
    else
        moment.ToString("O", CultureInfo.InvariantCulture)

/// A real training with its score: what a checkpoint is known by, weights, metrics, the stored run; moments must be of now.
let private training (folder: string) =
    let run = MethodKit.all.Value |> List.find (fun spec -> spec.Name = "SimCLR") |> _.Run

    let recipe = Samples.recipe "trained" [ Table.compare "trained" [ run ] run.Setting.Protocols ]

    let options =
        {
            Results = Path.Combine(folder, "results")
            DataRoot = Path.Combine(folder, "data")
            Device = "cpu"
            Threads = Some 1
            Workers = 1
            TorchLibrary = None
            CheckpointEvery = 10
            Only = Some run.Id
            Seeds = Some [ 0 ]
        }

    Execute.recipe recipe options (Progress.lines ignore) CancellationToken.None
    |> ignore

    let store = Store(options.Results, recipe.Name)
    let work = store.WorkFolder(run.TrainId, 0)

    let lines name =
        File.ReadAllLines(Path.Combine(work, name))

    use checkpoint = SafetensorsFile.Open(Directory.GetFiles(work, "step-*.safetensors") |> Array.max)

    [
        checkpoint.Metadata["identity"]
        checkpoint.DataHash()
        yield! lines "metrics.jsonl"
        for line in lines "timing.jsonl" do
            use json = JsonDocument.Parse line

            match json.RootElement.TryGetProperty "utc" with
            | true, utc -> recent (utc.GetDateTime())
            | _ -> ()
        for line in lines $"starts-{run.Id}" do
            recent (
                DateTime.ParseExact(
                    line,
                    "yyyy-MM-dd'T'HH:mm:ss'Z'",
                    CultureInfo.InvariantCulture,
                    DateTimeStyles.AdjustToUniversal ||| DateTimeStyles.AssumeUniversal
                )
            )
        for stored in store.Load().Runs do
            $"%A{(stored.RunId, stored.Canonical, stored.Verdict, stored.Scores, stored.Training.Curve, stored.Dataset)}"
            recent stored.Provenance.Started
    ]
    |> String.concat "\n"

/// What the command line prints, of what `training` left too.
let private said recipes (arguments: string list) =
    let out, error = Console.Out, Console.Error
    use text = new StringWriter()

    try
        Console.SetOut text
        Console.SetError text
        let code = Cli.main recipes (List.toArray arguments)
        $"{code}\n{text}"
    finally
        Console.SetOut out
        Console.SetError error

let private faulty =
    let experiment =
        { Samples.simclr with
            Augment =
                twoViews
                    [
                        CropTo(12, -0.25, 1.5)
                        JitterOf(0.8, -0.5, 0.4, 0.4, 0.75)
                        Blur(0.5, (-1.5, 2.))
                    ]
            Setting =
                { Samples.setting with
                    Train =
                        { Samples.setting.Train with
                            WarmupFraction = -0.5
                            ClipNorm = Some -2.5
                        }
                }
        }

    Samples.recipe "faulty" [ Table.compare "faulty" [ Run.ofExperiment experiment ] [ Samples.knn ] ]

let private commands (folder: string) =
    let sheet = Path.Combine(folder, "sheet.png")

    [
        said [] [ "data"; "info"; "--data"; Path.Combine(folder, "data") ]
        said [ faulty ] [ "check" ]
        said [] [ "data"; "import"; "none"; folder; "--resize=-3" ]
        said Recipes.All.recipes [ "list" ]
        said
            [ MethodKit.recipe () ]
            [
                "show"
                "tiny-methods"
                "--data"
                Path.Combine(folder, "data")
                "--out"
                sheet
            ]
        Convert.ToHexStringLower(Security.Cryptography.SHA256.HashData(File.ReadAllBytes sheet))
    ]
    |> String.concat "\n"
    |> _.Replace(folder, "FOLDER", StringComparison.Ordinal)

/// In the order in which a process writes them; commands look at what the training left.
let all =
    [
        "run ids", runIds
        "a stored run, and read back", json
        "rendered pages", pages
        "a safetensors file", safetensors
        "a training", training
        "commands", commands
    ]

let private file folder (law: string) = Path.Combine(folder, law + ".txt")

let private witnessName = "witness"

let child (arguments: string list) =
    match arguments with
    | [ name; folder ] ->
        let culture =
            if name = invariant then
                CultureInfo.InvariantCulture
            else
                CultureInfo name

        CultureInfo.DefaultThreadCurrentCulture <- culture
        CultureInfo.DefaultThreadCurrentUICulture <- culture
        CultureInfo.CurrentCulture <- culture
        CultureInfo.CurrentUICulture <- culture
        Core.Runtime.TorchRuntime.Initialise() |> ignore
        File.WriteAllText(file folder witnessName, witness ())

        for law, text in all do
            File.WriteAllText(file folder law, text folder)

        0
    | _ ->
        eprintfn "usage: culture NAME FOLDER"
        2

/// What a process of a culture wrote.
type Written =
    {
        Witness: string
        /// By law, in the order of `all`.
        Laws: (string * string) list
    }

/// Runs a process of a culture; what it printed where it failed.
let run (name: string) : Result<Written, string> =
    let folder = Directory.CreateTempSubdirectory "sslr-culture-"

    try
        let alone = if name = invariant then "1" else "0"

        let outcome =
            Repository.runWith
                [ "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", alone ]
                folder.FullName
                "dotnet"
                [
                    Reflection.Assembly.GetExecutingAssembly().Location
                    "culture"
                    name
                    folder.FullName
                ]

        if outcome.Code = 0 then
            let read law =
                File.ReadAllText(file folder.FullName law)

            Ok
                {
                    Witness = read witnessName
                    Laws = all |> List.map (fun (law, _) -> law, read law)
                }
        else
            Error outcome.All
    finally
        folder.Delete true

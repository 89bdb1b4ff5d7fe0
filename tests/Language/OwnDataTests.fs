/// A dataset of one's own, from the command line to a recipe.
module Tests.Language.OwnDataTests

open System
open System.IO
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Data
open Tests.Support
open Tests.Support.DataFiles

let private sslr (arguments: string list) =
    let out, error = Console.Out, Console.Error
    use outWriter = new StringWriter()
    use errorWriter = new StringWriter()

    try
        Console.SetOut outWriter
        Console.SetError errorWriter
        let code = Cli.main [] (List.toArray arguments)
        code, outWriter.ToString(), errorWriter.ToString()
    finally
        Console.SetOut out
        Console.SetError error

let private setting data : Setting =
    { Samples.setting with
        Data = data
        Protocols = [ KnnVote 1 ]
        Seeds = [ 0 ]
    }

let private problems root data =
    Datasets.problems root [ Run.rawPixels (setting data) ] |> List.map string

let private import root name source more =
    sslr ([ "data"; "import"; name; source; "--data"; root ] @ more)

let private contains (text: string) parts =
    for part: string in parts do
        Expect.stringContains text part "message"

let private photo number =
    png 8 8 (fun row column -> byte (row * 20 + number), byte (column * 20), byte (number * 9))

let private pictures = [ for i in 1..4 -> File($"{i}.png", photo i) ]

let private pets splits =
    [
        for split in splits do
            for c in [ "cat"; "dog" ] do
                for i in 1..4 -> File($"{split}/{c}/{i}.png", photo (i + c.Length + int c[0]))
    ]

[<Tests>]
let tests =
    testList
        "one's own data"
        [
            test "a training split alone is told, with both ways on, and one of them works" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let source = writeFolder (Path.Combine(folder, "set")) (pets [ "train" ])

                    let code, out, error = import root "pets" source []
                    Expect.equal code 0 error
                    contains out [ "no test split"; "--split test"; "HeldOut(Data.imported \"pets\", 0.1)" ]

                    match problems root (Data.imported "pets") with
                    | [ problem ] -> contains problem [ "no split 'test'"; "HeldOut(Data.imported \"pets\", 0.1)" ]
                    | other -> failtest $"{other}"

                    Expect.isEmpty (problems root (HeldOut(Data.imported "pets", 0.25))) "held out")
            }

            test "val serves as the test split, and that is told" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let source = writeFolder (Path.Combine(folder, "set")) (pets [ "train"; "val" ])

                    let code, out, error = import root "pets" source []
                    Expect.equal code 0 error
                    contains out [ "pets/val"; "no test split; val serves as one" ]
                    let _, out, _ = sslr [ "data"; "info"; "pets"; "--data"; root ]
                    contains out [ "no test split; val serves as one" ]
                    Expect.isEmpty (problems root (Data.imported "pets")) "usable"
                    use splits = Datasets.openSplits root (Data.imported "pets")
                    Expect.equal (splits.Test.Split, splits.Test.Count) ("val", 8) "opened")
            }

            test "images without labels: scores are refused with the way on, and methods train on them" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let code, out, error = import root "photos" (writeFolder (Path.Combine(folder, "set")) pictures) []
                    Expect.equal code 0 error
                    contains out [ "photos/train: 4 images of 8x8x3, no labels" ]
                    let photos = HeldOut(Data.imported "photos", 0.25)

                    match problems root photos with
                    | [ problem ] -> contains problem [ "needs labels"; "'photos' has none"; "trainedOn" ]
                    | other -> failtest $"{other}"

                    importTo root (writeFolder (Path.Combine(folder, "small")) (pets [ "train"; "test" ])) plain
                    |> ignore

                    let scored =
                        { setting (Data.imported "small") with
                            Train =
                                { Samples.setting.Train with
                                    Epochs = 1
                                    BatchSize = 3
                                }
                        }

                    let simclr =
                        { Samples.simclr with
                            Setting = scored
                            Augment = trainedOn photos (twoViews [ Flip 0.5 ])
                        }

                    let found = ref ([]: StoredRun list)
                    let run = Run.ofExperiment simclr

                    Expect.equal
                        (Check.runs [ run ] @ Datasets.problems root [ run ])
                        []
                        "trains on one, is scored on the other"

                    let supervised =
                        Run.ofExperiment
                            { Samples.supervised with
                                Setting = scored
                                Augment = trainedOn photos (labelled [ Flip 0.5 ])
                            }

                    match Datasets.problems root [ supervised ] |> List.map string with
                    | [ problem ] -> contains problem [ "learns from labels"; "'photos' has none" ]
                    | other -> failtest $"{other}"

                    let recipe = Samples.recipe "own" [ Table.compare "t" [ run ] [ KnnVote 1 ] ]

                    let stored =
                        Studies.inFolder (fun options ->
                            let result =
                                Execute.recipe
                                    recipe
                                    { options with DataRoot = root }
                                    (Progress.lines ignore)
                                    CancellationToken.None

                            Expect.equal (result.Done, result.Failed) (1, 0) "ran"
                            found.Value <- (Store(options.Results, "own")).Load().Runs)

                        List.exactlyOne found.Value

                    let recorded (record: DatasetRecord) =
                        match record.Normalisation with
                        | Some n ->
                            let s = DatasetCatalogue.Statistics(root, record.Name, "train")
                            Expect.sequenceEqual n.Mean s.Mean "mean"
                            Expect.sequenceEqual n.Std s.Deviation "deviation"
                        | None -> failtest $"no numbers of {record.Name}"

                    recorded stored.Dataset
                    recorded stored.TrainedOn.Value)
            }

            test "an imported dataset has its own constants, and ImageNet's have a name" {
                let own = Run.rawPixels (setting (Data.imported "mine"))
                contains own.CanonicalText [ "Data = OwnStatistics"; "Normalisation = \"of the training split\"" ]

                // What Data.imported meant before: such runs are found again under this word.
                let named = Data.importedWith Normalisation.imageNet "mine"
                let text = (Run.rawPixels (setting named)).CanonicalText

                Expect.stringStarts
                    text
                    "code = 1\nkind = raw pixels\nData = Imported\nData.Item = ImportedData\nData.Item.Name = \"mine\"\nData.Item.Normalisation = Normalisation\nData.Item.Normalisation.Mean = list of 3\nData.Item.Normalisation.Mean[0] = 0.485\n"
                    "the same text"

                contains
                    text
                    [
                        "\nNormalisation = Normalisation\nNormalisation.Mean = list of 3\nNormalisation.Mean[0] = 0.485\n"
                    ]
            }

            test "a channel without deviation is a problem, not a division by zero" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    importTo root (writeFolder (Path.Combine(folder, "set")) (smallSet 8)) plain
                    |> ignore
                    // `flat` has 7 in every blue value.
                    match problems root (Data.imported "small") with
                    | [ problem ] -> contains problem [ "channel 2"; "Data.importedWith" ]
                    | other -> failtest $"{other}"

                    Expect.isEmpty (problems root (Data.importedWith Normalisation.imageNet "small")) "stated")
            }

            test "info shows the good datasets beside a broken one, names that, and tells means" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = writeFolder (Path.Combine(folder, "set")) (smallSet 8)

                    for name in [ "a"; "b"; "c" ] do
                        let code, _, error = import root name source []
                        Expect.equal code 0 error

                    let broken = Path.Combine(root, "b", "train.sslpack") |> truncate 0.5
                    let code, out, error = sslr [ "data"; "info"; "--stats"; "--data"; root ]
                    Expect.equal code 1 "something is broken"

                    contains
                        out
                        [
                            "a/train: 4"
                            "b/test: 4"
                            "c/test: 4"
                            "mean 0.0020 0.0020 0.0275, deviation 0.0020 0.0020 0.0000"
                        ]

                    contains error [ broken; "truncated" ]
                    let code, _, error = sslr [ "data"; "verify"; "--data"; root ]
                    Expect.equal code 1 "verify, too"
                    contains error [ broken ])
            }

            test "three mistakes of a first import, each one line that says how to go on" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let entries =
                        [
                            for c in [ "cat"; "dog" ] do
                                for i in 1..2 do
                                    yield File($"{c}/{i}.png", flat (7 + i) i i)
                            yield File("cat/readme.md", [| 1uy |])
                        ]

                    let source = writeFolder (Path.Combine(folder, "set")) entries

                    let fails more parts =
                        let code, _, error = import root "pets" source more
                        Expect.equal code 1 "refused"
                        contains error parts
                        Expect.equal (error.Trim().Split('\n').Length) 1 error

                    fails [] [ "--resize N" ]
                    fails [ "--resize"; "8" ] [ "--split train" ]
                    let code, _, error = import root "pets" source [ "--split"; "train"; "--resize"; "8" ]
                    Expect.equal code 0 error
                    contains error [ "left out: 1 with unknown extension (cat/readme.md)" ]
                    fails [ "--split"; "train"; "--resize"; "8" ] [ "already"; "--replace" ]

                    let code, _, error = import root "pets" source [ "--split"; "train"; "--resize"; "8"; "--replace" ]

                    Expect.equal code 0 error)
            }
        ]

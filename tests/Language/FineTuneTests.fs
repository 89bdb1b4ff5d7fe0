/// The protocol that trains the encoder on labels, and the pictures that trained methods leave: small studies, really run.
module Tests.Language.FineTuneTests

open System
open System.IO
open System.Threading
open Expecto
open SslResearch
open Tests.Support.Studies
open TorchSharp

let private fineTune = FineTune(epochs = 2, rate = 2e-3, augment = [ CropTo(16, 0.6, 1.0); Flip 0.5 ])

let private setting: Setting =
    {
        Data =
            Shapes
                {
                    Train = 256
                    Test = 64
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Backbone =
            {
                Block = Basic
                Blocks = [ 1; 1 ]
                Width = 4
                Stem = CifarStemStride2
            }
        Train =
            { Train.CpuScale with
                Epochs = 1
                BatchSize = 32
            }
        Protocols = [ Knn(k = 5, temperature = 0.1); fineTune ]
        Seeds = [ 0 ]
    }

let private simclr protocols =
    Run.ofExperiment
        {
            Name = "simclr"
            Setting = { setting with Protocols = protocols }
            Augment = twoViews [ CropTo(12, 0.3, 1.0); Flip 0.5; Jitter(0.8, 0.5) ]
            Method =
                { SimClr.Default with
                    Projection = LinearProjection 6
                }
        }

let private study (runs: Run list) : Recipe =
    {
        Name = "tuning"
        Summary = "a small study"
        Tables = [ Table.compare "tiny" runs [ runs.Head.Setting.Protocols.Head ] ]
    }

/// Runs a study; `scoring` hears the name of each protocol when its turn comes.
let private run (recipe: Recipe) options (scoring: string -> unit) stop =
    let failures = ResizeArray<string>()

    let reporter =
        { new IRunReporter with
            member _.Started(_, _, _, _) = ()
            member _.Step _ = ()
            member _.Scoring name = scoring name
            member _.Finished _ = ()
            member _.Failed(title, _, error) = failures.Add $"{title}: {error}"
            member _.Note _ = ()
        }

    let result = Execute.recipe recipe options reporter stop
    Expect.isEmpty failures "no failures"
    result, Store(options.Results, recipe.Name).Load().Runs

let private scoreOf protocol (run: StoredRun) =
    run.Scores
    |> List.tryFind (fun s -> s.Protocol = Protocol.name protocol)
    |> Option.map _.Value

[<Tests>]
let tests =
    testList
        "fine-tuning"
        [
            test
                "it is scored beside frozen features, for trained and random encoders, and leaves the encoder as it was" {
                inFolder (fun options ->
                    let knn = List.head setting.Protocols

                    let _, stored =
                        run
                            (study [ Run.randomInit setting; simclr setting.Protocols; simclr [ fineTune; knn ] ])
                            options
                            ignore
                            CancellationToken.None

                    let values protocol =
                        stored |> List.map (scoreOf protocol >> Option.get)

                    for value in values fineTune do
                        Expect.isTrue (value >= 0. && value <= 100.) $"{value} %%"

                    match values knn with
                    | [ _; before; after ] -> Expect.equal after before "k-NN before and after the fine-tuning"
                    | other -> failtest $"three runs, not {other.Length}"

                    match values fineTune with
                    | [ _; first; second ] -> Expect.equal second first "the order of protocols changes nothing"
                    | _ -> ())
            }

            test "it learns: on its own training images it is far above chance" {
                inFolder (fun options ->
                    let long = FineTune(epochs = 20, rate = 0.02, augment = [])

                    let _, stored =
                        run
                            (study [ Run.randomInit { setting with Protocols = [ long ] } ])
                            options
                            ignore
                            CancellationToken.None

                    let score = (List.head stored).Scores |> List.head
                    Expect.isLessThan (snd (List.head score.Details)) (0.9 * log 10.) "the loss of fine-tuning")
            }

            test "stopped in the middle and continued, it ends with the same score" {
                let alone = simclr [ fineTune ]

                let score (stopAt: string option) =
                    let mutable value = nan

                    inFolder (fun options ->
                        use stop = new CancellationTokenSource()

                        let scoring name =
                            if Some name = stopAt then
                                stop.CancelAfter 60

                        let result, _ = run (study [ alone ]) options scoring stop.Token

                        if stopAt.IsSome && result.Interrupted then
                            Expect.equal result.Done 0 "nothing is stored half done"

                        let _, stored = run (study [ alone ]) options ignore CancellationToken.None
                        value <- scoreOf fineTune (List.head stored) |> Option.get)

                    value

                Expect.equal (score (Some(Protocol.name fineTune))) (score None) "score"
            }

            test "raw pixels have no encoder to tune, and what cannot be is said at once" {
                Expect.isEmpty
                    (Run.protocols (
                        Run.rawPixels
                            { setting with
                                Protocols = [ fineTune ]
                            }
                    ))
                    "raw pixels leave it out"

                let problems =
                    Check.runs
                        [
                            simclr
                                [
                                    At("layer1", fineTune)
                                    FineTune(epochs = 1, rate = -1.)
                                    Knn(k = 5, temperature = 0.1)
                                ]
                        ]
                    |> List.map string
                    |> String.concat "\n"

                Expect.stringContains problems "fine-tuning on a layer" "on a layer"
                Expect.stringContains problems "Protocols[1].Train.Rate" "the rate"
            }

            test "protocols that differ anywhere have other names" {
                let names =
                    [
                        FineTune(epochs = 2)
                        FineTune(epochs = 3)
                        FineTune(epochs = 2, rate = 2e-3)
                        FineTune(epochs = 2, augment = [])
                        fineTune
                    ]
                    |> List.map Protocol.name

                Expect.equal (List.distinct names) names "names"
            }
        ]

[<Tests>]
let pictures =
    testList
        "pictures"
        [
            test "a sheet has a cell for each picture, and values beyond the range are clipped" {
                use images = torch.zeros ([| 2L; 3L; 3L; 8L; 8L |])
                use second = images.select (1, 1L)
                use one = second.select (0, 0L)
                one.add_ (TorchSharp.Scalar.op_Implicit 99f) |> ignore

                let png columns =
                    SslResearch.Core.Augment.PictureSheet.Png(
                        "title",
                        columns,
                        images,
                        Augmentation.channels
                            {
                                Mean = [ 0.5; 0.5; 0.5 ]
                                Std = [ 0.2; 0.2; 0.2 ]
                            }
                    )

                let bytes = png [ "input"; "masked"; "reconstruction" ]
                use bitmap = SkiaSharp.SKBitmap.Decode bytes
                let pixels = bitmap.Pixels

                let count colour =
                    pixels |> Array.filter ((=) colour) |> Array.length
                // 8 pixels are shown as 192.
                Expect.isGreaterThanOrEqual
                    (count (SkiaSharp.SKColor(255uy, 255uy, 255uy)))
                    (192 * 192)
                    "one white cell"

                Expect.isGreaterThanOrEqual
                    (count (SkiaSharp.SKColor(128uy, 128uy, 128uy)))
                    (5 * 192 * 192)
                    "five gray cells"

                Expect.equal (png [ "input"; "masked"; "reconstruction" ]) bytes "the same again"
                Expect.throwsT<ArgumentException> (fun () -> png [ "input" ] |> ignore) "as many heads as columns"
            }
        ]

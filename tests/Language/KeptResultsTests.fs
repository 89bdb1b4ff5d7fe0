/// Nothing that was stored is lost, mixed up or read as what it never was.
module Tests.Language.KeptResultsTests

open System
open System.Diagnostics
open System.IO
open System.Text
open System.Threading
open Expecto
open SslResearch
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Studies

let private run = Run.ofExperiment Samples.simclr

let private line seed =
    Samples.stored run seed [ Samples.knn, 60.25 + float seed; Samples.probe, 61.5 ]

let private inStore (body: Store -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-kept-"

    try
        body (Store(folder.FullName, "recipe"))
    finally
        folder.Delete true

let private refusal (store: Store) =
    try
        store.Load() |> ignore
        ""
    with :? ResultsException as e ->
        e.Message

/// A store that holds these texts as they are.
let private holding (store: Store) (text: string) =
    Directory.CreateDirectory store.Folder |> ignore
    File.WriteAllText(store.Path, text)

type private Recorder() =
    member val Log = ResizeArray<string>()

    interface IRunReporter with
        member r.Started(title, seed, _, _) = r.Log.Add $"start {title} {seed}"
        member _.Step _ = ()
        member r.Scoring what = r.Log.Add $"scoring {what}"
        member r.Finished run = r.Log.Add $"done {run.Name} {run.Seed}"

        member r.Failed(title, seed, error) =
            r.Log.Add $"failed {title} {seed}: {error.Message}"

        member r.Note text = r.Log.Add $"note {text}"

let private execute recipe options =
    let recorder = Recorder()
    let result = Execute.recipe recipe options recorder CancellationToken.None
    result, List.ofSeq recorder.Log

let private setting: Setting =
    { MethodKit.setting with
        Data =
            Shapes
                {
                    Train = 96
                    Test = 40
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Train =
            { MethodKit.setting.Train with
                Epochs = 1
            }
    }

let private experiment (setting: Setting) =
    { Samples.simclr with
        Setting = setting
        Augment = twoViews MethodKit.view
    }

let private recipe (runs: Run list) protocols : Recipe =
    {
        Name = "kept"
        Summary = "a small study"
        Tables = [ Table.compare "kept" runs protocols ]
    }

/// Imports two classes of flat images under one name, over what is there.
let private import (options: RunOptions) (shade: int) =
    let root = Path.Combine(options.DataRoot, "mine")

    if Directory.Exists root then
        Directory.Delete(root, true)

    let source = options.DataRoot + "-source"

    if Directory.Exists source then
        Directory.Delete(source, true)

    [
        for split, count in [ "train", 40; "test", 10 ] do
            for label in 0..1 do
                for number in 0 .. count - 1 ->
                    DataFiles.File(
                        $"{split}/{label}/{number}.png",
                        DataFiles.png 16 16 (fun y x -> byte (shade + label * 90), byte (number * 5 + y), byte (x * 9))
                    )
    ]
    |> DataFiles.writeFolder source
    |> ignore

    SslResearch.Core.Data.Importers.Import(
        "mine",
        source,
        options.DataRoot,
        DataFiles.plain,
        null,
        CancellationToken.None
    )
    |> ignore

[<Tests>]
let tests =
    testList
        "kept results"
        [
            test "no flipped bit of a stored file goes unnoticed" {
                inStore (fun store ->
                    for seed in 0..1 do
                        store.Append(line seed)

                    let whole = File.ReadAllBytes store.Path
                    let known = store.Load().Runs |> List.map (sprintf "%A")
                    let mutable draws = Philox(5UL, RandomPurpose.Evaluation)

                    for _ in 1..4000 do
                        let bit = int (draws.NextBelow(uint32 (whole.Length * 8)))
                        let damaged = Array.copy whole
                        damaged[bit / 8] <- damaged[bit / 8] ^^^ (1uy <<< bit % 8)
                        File.WriteAllBytes(store.Path, damaged)

                        try
                            let stored = store.Load()

                            Expect.isTrue
                                (stored.Torn.IsSome && stored.Runs.Length = 1)
                                $"bit {bit}: only an end that became unfinished is passed over, and that is told"

                            Expect.equal (stored.Runs |> List.map (sprintf "%A")) [ known[0] ] "the other is as it was"
                        with :? ResultsException as e ->
                            Expect.stringContains e.Message store.Path $"bit {bit}: the message names the file")
            }

            test "a whole line that this version cannot read is an error, and stays" {
                let newer =
                    (StoredRun.toJson (line 1))
                        .Replace($"\"schema\":{StoredRun.schema}", $"\"schema\":{StoredRun.schema + 1}")

                for text, words in
                    [
                        newer + "\n", "newer version"
                        newer, "newer version"
                        "{\"half\":\n", "no stored run"
                        "\n", "empty line"
                        String('\000', 40) + "\n", "no stored run"
                    ] do
                    inStore (fun store ->
                        let before = StoredRun.toJson (line 0) + "\n" + text
                        holding store before
                        let message = refusal store
                        Expect.stringContains message words "what is wrong"
                        Expect.stringContains message "line 2" "where"
                        Expect.stringContains message store.Path "in which file"

                        Expect.throwsT<ResultsException> (fun () -> store.Append(line 2)) "nothing is appended"
                        Expect.equal (File.ReadAllText store.Path) before "and nothing is removed")
            }

            test "lines without a checksum, as they were written before, are read; with half of one they are not" {
                let old =
                    let text = StoredRun.toJson (line 0)

                    text
                        .Substring(0, text.IndexOf(",\"sha256\"", StringComparison.Ordinal))
                        .Replace("\"schema\":2", "\"schema\":1")
                    + "}"

                inStore (fun store ->
                    holding store (old + "\n")
                    Expect.equal (store.Load().Runs |> List.map _.Seed) [ 0 ] "read"
                    store.Append(line 1)
                    Expect.equal (store.Load().Runs |> List.map _.Seed) [ 0; 1 ] "and gone on with"

                    for text in
                        [
                            (StoredRun.toJson (line 0)).Replace("\"schema\":2", "\"schema\":1")
                            old.Replace("\"schema\":1", "\"schema\":2")
                        ] do
                        holding store (text + "\n")
                        Expect.stringContains (refusal store) "line 1" "refused")
            }

            test "numbers beyond all bounds, nulls and other kinds are refused" {
                let old =
                    let text = StoredRun.toJson (line 0)

                    text
                        .Substring(0, text.IndexOf(",\"sha256\"", StringComparison.Ordinal))
                        .Replace("\"schema\":2", "\"schema\":1")
                    + "}"

                inStore (fun store ->
                    for was, is in
                        [
                            "\"value\":60.25", "\"value\":1e999"
                            "\"value\":60.25", "\"value\":-1e999"
                            "\"value\":60.25", "\"value\":\"60.25\""
                            $"\"name\":\"{(line 0).Name}\"", "\"name\":null"
                            "\"seed\":0", "\"seed\":1e10"
                            "\"seed\":0", "\"seed\":0,\"seed\":1"
                            "\"curve\":[", "\"curve\":[[1],"
                            "\"labels\":[", "\"labels\":[[\"x\"],"
                            "\"scores\":[", "\"scored\":["
                        ] do
                        Expect.stringContains old was "to be replaced"
                        holding store (old.Replace(was, is) + "\n")
                        Expect.stringContains (refusal store) "line 1" $"{is} is refused")
            }

            test "what is no lock is no lock: an error comes at once" {
                inStore (fun store ->
                    let clock = Stopwatch.StartNew()
                    Directory.CreateDirectory(Path.Combine(store.Folder, "runs.lock")) |> ignore

                    Expect.throws (fun () -> store.Append(line 0)) "a folder stands where the lock goes"
                    let work = store.WorkFolder("abc", 0)
                    Directory.CreateDirectory(Path.Combine(work, "run.lock")) |> ignore
                    Expect.throws (fun () -> store.TryLock("abc", 0) |> ignore) "the lock of a run"
                    Expect.throws (fun () -> Store("/proc/self/none", "r").Append(line 0)) "no such place"
                    Expect.isLessThan clock.Elapsed.TotalSeconds 5. "nobody is waited for")
            }

            test "a protocol that fails keeps the scores of the others, and is tried again" {
                inFolder (fun options ->
                    // More images a batch than there are: Check would refuse it.
                    let protocols = [ KnnVote 3; FineTune 1; LinearProbe(epochs = 3) ]
                    let run = Run.ofExperiment (experiment { setting with Protocols = protocols })
                    let study = recipe [ run ] protocols
                    let result, log = execute study options
                    Expect.equal (result.Done, result.Failed) (0, 1) (String.concat "\n" log)

                    Expect.exists
                        log
                        (fun l ->
                            l.StartsWith "failed"
                            && l.Contains "fine-tuned 1 ep: "
                            && l.Contains "are stored")
                        "why"

                    let store = Store(options.Results, study.Name)
                    let record = store.Load().Runs |> List.exactlyOne
                    Expect.equal (record.Scores |> List.map _.Protocol) [ "k-NN k=3 vote"; "linear 3 ep" ] "scored"
                    Expect.equal (record.Failures |> List.map fst) [ "fine-tuned 1 ep" ] "failed"

                    let table = Report.render options.Results study |> List.exactlyOne

                    Expect.exists
                        table.Notes
                        (fun n -> n.Contains "Could not be scored" && n.Contains "fine-tuned")
                        "told"

                    let again, log = execute study options
                    Expect.equal (again.Done, again.Before, again.Failed) (0, 0, 1) "it counts as missing"

                    Expect.equal
                        (log |> List.filter _.StartsWith("scoring"))
                        [ "scoring fine-tuned 1 ep" ]
                        "only what failed is tried again"

                    Expect.equal (File.ReadAllLines store.Path).Length 1 "the same line is not written twice"

                    // Once it can be scored, the complete line counts.
                    store.Append
                        { record with
                            Failures = []
                            Scores =
                                record.Scores
                                @ [
                                    { record.Scores[0] with
                                        Protocol = "fine-tuned 1 ep"
                                    }
                                ]
                        }

                    let finished, _ = execute study options
                    Expect.equal (finished.Done, finished.Before) (0, 1) "done"
                    Expect.equal (store.Load().Runs |> List.exactlyOne).Scores.Length 3 "the complete one")
            }

            test "re-imported images are other images: run again, never in one cell, no training shared" {
                inFolder (fun options ->
                    let options = { options with Seeds = Some [ 0; 1 ] }
                    import options 0
                    let protocols = [ KnnVote 3 ]

                    let run =
                        Run.ofExperiment (
                            experiment
                                { setting with
                                    Data = Data.imported "mine"
                                    Protocols = protocols
                                }
                        )

                    let study = recipe [ run ] protocols
                    let result, log = execute study options
                    Expect.equal (result.Done, result.Failed) (2, 0) (String.concat "\n" log)
                    let again, _ = execute study options
                    Expect.equal (again.Done, again.Before) (0, 2) "done"

                    import options 60
                    let present = Contents.present options.DataRoot
                    let store = Store(options.Results, study.Name)

                    Expect.isFalse (Contents.isDone present (store.Load().Runs) (run, 0)) "other images: not done"

                    let other, log = execute study { options with Seeds = Some [ 0 ] }
                    Expect.equal (other.Done, other.Failed) (1, 0) (String.concat "\n" log)
                    Expect.exists log (fun l -> l.StartsWith "note" && l.Contains "other images") "told"
                    Expect.equal (File.ReadAllLines store.Path).Length 3 "three lines"

                    let trainings =
                        Directory.GetDirectories(Path.Combine(options.Results, "work"), run.TrainId + "-*-s0")

                    Expect.hasLength trainings 2 "a training of each"

                    // The newest, without a look at the data; then with it.
                    for present in [ (fun _ -> None); present ] do
                        let table = Report.renderOn present options.Results study |> List.exactlyOne

                        Expect.exists
                            table.Notes
                            (fun n -> n.Contains "2 stored runs on another content of 'mine'")
                            "left out"

                        Expect.stringContains (List.item 1 (List.head table.Rows)) "n=1" "one seed in the cell"

                    // The first images again: their runs are there still.
                    import options 0
                    let back, _ = execute study options
                    Expect.equal (back.Done, back.Before) (0, 2) "nothing is run again"

                    let table =
                        Report.renderOn (Contents.present options.DataRoot) options.Results study
                        |> List.exactlyOne

                    Expect.isFalse
                        ((List.item 1 (List.head table.Rows)).Contains "n=1")
                        "both seeds on the first images")
            }

            test "a disk that cannot be written ends the study with one message, and keeps what was finished" {
                inFolder (fun options ->
                    let runs =
                        [
                            Run.ofExperiment (experiment setting)
                            Run.ofExperiment (
                                experiment
                                    { setting with
                                        Train = { setting.Train with Epochs = 2 }
                                    }
                            )
                        ]

                    let study = recipe runs setting.Protocols
                    Directory.CreateDirectory options.Results |> ignore
                    File.WriteAllText(Path.Combine(options.Results, "work"), "no folder")

                    let message =
                        try
                            execute study options |> ignore
                            ""
                        with
                        | :? ResultsException as e -> e.Message
                        | :? IOException as e -> e.Message

                    Expect.stringContains message "work" "where")
            }

            test "half-written pages of processes that are gone are removed, those of the living are not" {
                inFolder (fun options ->
                    let page = Path.Combine(options.Results, "table.md")
                    Directory.CreateDirectory options.Results |> ignore
                    File.WriteAllText(page + ".999999999.tmp", "half")
                    use other = nonNull (Process.Start("sleep", [ "30" ]))
                    let living = $"{page}.{other.Id}.tmp"
                    File.WriteAllText(living, "half")
                    WholeFile.Write(page, ReadOnlySpan(Encoding.UTF8.GetBytes "whole"))
                    Expect.equal (File.ReadAllText page) "whole" "written"
                    Expect.isTrue (File.Exists living) "another process may be at work"
                    other.Kill()
                    other.WaitForExit()

                    Expect.equal
                        (Directory.GetFiles options.Results |> Array.map Path.GetFileName |> Array.sort)
                        [| "table.md"; Path.GetFileName living |]
                        "nothing else")
            }
        ]

module Tests.Language.StoreTests

open System
open System.IO
open System.Text
open System.Threading
open System.Threading.Tasks
open Expecto
open SslResearch
open Tests.Support

let private run = Run.ofExperiment Samples.simclr

let private line seed =
    Samples.stored run seed [ Samples.knn, 60.25 + float seed; Samples.probe, 61.5 ]

let private inStore (body: Store -> unit) =
    let folder = Directory.CreateTempSubdirectory "sslr-store-"

    try
        body (Store(folder.FullName, "recipe"))
    finally
        folder.Delete true

/// The same store as another process has it.
let private reopened (store: Store) =
    Store(Path.Combine(store.Folder, ".."), Path.GetFileName store.Folder)

let private seeds (stored: Stored) = stored.Runs |> List.map _.Seed

[<Tests>]
let tests =
    testList
        "results store"
        [
            test "a stored run comes back as it was" {
                let odd =
                    { line 3 with
                        Name = "näme \"quoted\" | piped"
                        Labels = [ "axis", "value, with comma"; "second", "2" ]
                        Verdict = "diverged"
                        Scores = []
                        Measures = [ "PSNR in dB", 21.5; "words used in %", nan ]
                        Picture = Some "pictures/abc-s3.png"
                        TrainedOn = Some { (line 3).Dataset with Name = "films" }
                    }

                for original in [ line 0; odd ] do
                    let json = StoredRun.toJson original
                    Expect.isFalse (json.Contains '\n') "one line"
                    let back = StoredRun.ofJson json
                    // NaN is not equal to itself, so the text is compared.
                    Expect.equal (sprintf "%A" back) (sprintf "%A" original) "the same"
            }

            test "appended runs are loaded in order, and the first of two equals wins" {
                inStore (fun store ->
                    Expect.equal (store.Load()) { Runs = []; Torn = None } "empty at first"
                    store.Append(line 1)
                    store.Append(line 0)
                    store.Append { line 1 with Verdict = "collapsed" }
                    Expect.equal (seeds (store.Load())) [ 1; 0 ] "seeds"
                    Expect.equal (store.Load().Runs[0].Verdict) "learned" "first"
                    Expect.equal (File.ReadAllLines store.Path).Length 2 "lines")
            }

            test "a torn last line at every length is reported, ignored, and made good by the next append" {
                let whole = StoredRun.toJson (line 0) + "\n"
                let second = Encoding.UTF8.GetBytes(StoredRun.toJson (line 1))

                for length in [ 1; 2; 17; second.Length / 2; second.Length - 1 ] do
                    inStore (fun store ->
                        Directory.CreateDirectory store.Folder |> ignore
                        let bytes = Array.append (Encoding.UTF8.GetBytes whole) (Array.truncate length second)
                        File.WriteAllBytes(store.Path, bytes)
                        let stored = store.Load()
                        Expect.equal (seeds stored) [ 0 ] "the whole line"
                        Expect.isSome stored.Torn "the torn one is told"
                        store.Append(line 1)
                        let mended = store.Load()
                        Expect.equal (seeds mended) [ 0; 1 ] "both"
                        Expect.isNone mended.Torn "nothing torn"

                        Expect.equal
                            (File.ReadAllText store.Path)
                            (whole + StoredRun.toJson (line 1) + "\n")
                            "the file is whole again")
            }

            test "a last line that lacks only its end counts, and the next one starts a new line" {
                inStore (fun store ->
                    Directory.CreateDirectory store.Folder |> ignore
                    File.WriteAllText(store.Path, StoredRun.toJson (line 0))
                    Expect.equal (seeds (store.Load())) [ 0 ] "it counts"
                    store.Append(line 1)
                    Expect.equal (seeds (store.Load())) [ 0; 1 ] "both"
                    Expect.equal (File.ReadAllLines store.Path).Length 2 "lines")
            }

            test "a last line of zeros, as some file systems leave it, is torn as well" {
                inStore (fun store ->
                    store.Append(line 0)
                    File.AppendAllText(store.Path, String('\000', 100))
                    Expect.isSome (store.Load().Torn) "torn"
                    store.Append(line 1)
                    Expect.equal (seeds (store.Load())) [ 0; 1 ] "both")
            }

            test "damage in the middle is an error that names the line" {
                inStore (fun store ->
                    store.Append(line 0)
                    store.Append(line 1)
                    let lines = File.ReadAllLines store.Path
                    File.WriteAllLines(store.Path, [ lines[0]; "{ broken"; lines[1] ])

                    let message =
                        try
                            store.Load() |> ignore
                            ""
                        with :? ResultsException as e ->
                            e.Message

                    Expect.stringContains message "line 2" "line"
                    Expect.stringContains message "restore" "how to mend it")
            }

            test "many writers at once leave whole lines, each run once" {
                inStore (fun store ->
                    let writers =
                        [|
                            for w in 0..3 do
                                Task.Run(fun () ->
                                    let own = reopened store

                                    for seed in 0..14 do
                                        // Half of the seeds are shared by all writers.
                                        own.Append(line (if seed % 2 = 0 then seed else 1000 * (w + 1) + seed)))
                        |]

                    Task.WaitAll writers
                    let stored = store.Load()
                    Expect.isNone stored.Torn "nothing torn"
                    Expect.equal stored.Runs.Length (8 + 4 * 7) "each once"
                    Expect.equal (File.ReadAllLines store.Path).Length stored.Runs.Length "lines")
            }

            test "a run's lock is given to one at a time, and comes back when its holder ends" {
                inStore (fun store ->
                    let other = reopened store

                    match store.TryLock("abc", 0) with
                    | None -> failtest "the first one gets it"
                    | Some held ->
                        Expect.isNone (other.TryLock("abc", 0)) "the second does not"

                        match other.TryLock("abc", 1) with
                        | Some seed -> seed.Dispose()
                        | None -> failtest "another seed is free"

                        held.Dispose()

                        match other.TryLock("abc", 0) with
                        | Some again -> again.Dispose()
                        | None -> failtest "free again")
            }

            test "another process that holds the lock of a run is seen" {
                match Environment.GetEnvironmentVariable "PATH" with
                | path when path.Split(':') |> Array.exists (fun d -> File.Exists(Path.Combine(d, "flock"))) ->
                    inStore (fun store ->
                        (store.TryLock("abc", 0)).Value.Dispose()
                        let file = Path.Combine(store.WorkFolder("abc", 0), "run.lock")
                        let info = Diagnostics.ProcessStartInfo("flock", [ "-x"; file; "sleep"; "60" ])
                        use child = Diagnostics.Process.Start info

                        try
                            let free () =
                                match store.TryLock("abc", 0) with
                                | Some held ->
                                    held.Dispose()
                                    true
                                | None -> false

                            let seen =
                                SpinWait.SpinUntil(
                                    (fun () ->
                                        Thread.Sleep 10
                                        not (free ())),
                                    10_000
                                )

                            Expect.isTrue seen "held by the other process"
                        finally
                            child.Kill true
                            child.WaitForExit())
                | _ -> skiptest "skipped: no flock program"
            }
        ]

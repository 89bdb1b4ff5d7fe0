/// What a person meets where files, disks and pipes cannot be used, or options say what was not meant: one message, the documented exit
/// code, in time, and nothing left behind.
module Tests.Framework.HostilePlacesTests

open System
open System.Diagnostics
open System.IO
open Expecto
open SslResearch
open Tests.Support

let private shell folder (script: string) =
    Repository.run folder "bash" [ "-c"; script ]

/// The program as a word of a shell script.
let private sslr =
    let program = Path.Combine(AppContext.BaseDirectory, "sslr.dll")
    $"dotnet '{program}'"

/// The same with the recipe of a few seconds.
let private tiny =
    let program = Reflection.Assembly.GetExecutingAssembly().Location
    $"dotnet '{program}' sslr"

/// One line on standard error, and this exit code.
let private says (outcome: Repository.Outcome) code (words: string list) =
    Expect.equal outcome.Code code outcome.All
    Expect.isFalse (outcome.All.Contains "   at ") $"no stack trace: {outcome.All}"
    Expect.isFalse (outcome.All.Contains "Unhandled") $"nothing unhandled: {outcome.All}"
    let lines = outcome.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)
    Expect.hasLength lines 1 $"one message: {outcome.Errors}"

    for word in words do
        Expect.stringContains lines[0] word "what, where and how to mend it"

/// A file system of that size, or a read-only view of a folder; skipped where mounting is not allowed.
let private mounted (arguments: string list) (folder: string) (body: unit -> unit) =
    Directory.CreateDirectory folder |> ignore
    let outcome = Repository.run "/" "mount" (arguments @ [ folder ])

    if outcome.Code <> 0 then
        skiptest $"skipped: mounting is not allowed here ({outcome.Errors.Trim()})"

    try
        body ()
    finally
        Repository.run "/" "umount" [ "-l"; folder ] |> ignore

[<Tests>]
let tests =
    testList
        "hostile places"
        [
            test "results that are a file, a place that takes no folder" {
                Repository.inFolder (fun folder ->
                    let file = Path.Combine(folder, "file")
                    File.WriteAllText(file, "kept")
                    says (shell folder $"{tiny} run tiny --results '{file}'") 2 [ file; "not a folder" ]
                    says (shell folder $"{tiny} run tiny --results /proc/none") 1 [ "/proc/none" ]
                    Expect.equal (File.ReadAllText file) "kept" "the file stays")
            }

            test "a folder of results that is not there is not made by looking" {
                Repository.inFolder (fun folder ->
                    for verb in [ "tables"; "tables tiny"; "list"; "list tiny"; "show tiny --trained" ] do
                        says (shell folder $"{tiny} {verb} --results typo") 2 [ "typo" ]

                    Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing was made"
                    Directory.CreateDirectory(Path.Combine(folder, "empty")) |> ignore
                    let outcome = shell folder $"{tiny} tables tiny --results empty"
                    Expect.equal outcome.Code 0 outcome.All
                    Expect.stringContains outcome.Output "No stored runs of 'tiny'" "said"
                    Expect.isEmpty (Directory.GetFileSystemEntries(Path.Combine(folder, "empty"))) "nothing was made")
            }

            test "a full standard output and one that nobody reads" {
                Repository.inFolder (fun folder ->
                    says (shell folder $"{sslr} list > /dev/full") 1 []
                    let outcome = shell folder $"{sslr} list | head -n 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
                    Expect.contains [ "0"; "141" ] (outcome.Output.Trim()) "the program's own exit code"
                    Expect.isEmpty outcome.Errors "quietly")
            }

            test "options that say what cannot be meant are wrong usage at once" {
                Repository.inFolder (fun folder ->
                    for options, word in
                        [
                            "--threads 100000", "--threads 100000"
                            "--threads 0", "--threads 0"
                            "--workers 100000", "--workers 100000"
                            "--only ''", "--only"
                            "--device gpu", "--device gpu"
                            "--device cuda:x", "--device cuda:x"
                            "--seeds 0-1000000000", "--seeds"
                            "--seeds 5-1", "--seeds"
                            "--checkpoint-every 0", "--checkpoint-every 0"
                        ] do
                        let clock = Stopwatch.StartNew()
                        says (shell folder $"{tiny} run tiny --results results {options}") 2 [ word ]
                        Expect.isLessThan clock.Elapsed.TotalSeconds 20. $"{options}: at once"

                    says (shell folder $"{sslr} show compare --images 100000") 2 [ "--images" ]
                    Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing was made")
            }

            test "two recipes of one name, asked for one of them" {
                let two = [ TinyRecipe.recipe; TinyRecipe.recipe ]
                let before = Console.Error
                use errors = new StringWriter()

                try
                    Console.SetError errors
                    Expect.equal (Cli.main two [| "run"; "tiny" |]) ExitCode.Failure "refused"
                finally
                    Console.SetError before

                Expect.stringContains (errors.ToString()) "2 recipes have the name 'tiny'" "why"
            }

            test "results on a full disk: one message, and the same command goes on once there is space" {
                Repository.inFolder (fun folder ->
                    let results = Path.Combine(folder, "results")

                    mounted [ "-t"; "tmpfs"; "-o"; "size=300k"; "tmpfs" ] results (fun () ->
                        let run = $"{tiny} run tiny --results '{results}' --checkpoint-every 7"
                        says (shell folder run) 1 [ results ]
                        let left = Directory.GetFiles(results, "*.tmp", SearchOption.AllDirectories)
                        Expect.isEmpty left "nothing half-written"

                        Expect.equal
                            (Repository.run "/" "mount" [ "-o"; "remount,size=64m"; results ]).Code
                            0
                            "more space"

                        let outcome = shell folder run
                        Expect.equal outcome.Code 0 outcome.All
                        Expect.stringContains outcome.Output "1 runs done now" "done"))
            }

            test "results, data and cache on a read-only disk" {
                Repository.inFolder (fun folder ->
                    let place = Path.Combine(folder, "place")
                    Directory.CreateDirectory(Path.Combine(folder, "source")) |> ignore

                    mounted [ "-t"; "tmpfs"; "-o"; "ro"; "tmpfs" ] place (fun () ->
                        says (shell folder $"{tiny} run tiny --results '{place}/results'") 1 [ place ]
                        says (shell folder $"{tiny} run tiny --results results --data '{place}/data'") 1 [ place ]

                        DataFiles.writeFolder (Path.Combine(folder, "source")) (DataFiles.smallSet 8)
                        |> ignore

                        says (shell folder $"{sslr} data import mine source --data '{place}/data'") 1 [ place ]
                        says (shell folder $"XDG_CACHE_HOME='{place}' {sslr} env") 1 [ "XDG_CACHE_HOME" ]
                        Expect.isEmpty (Directory.GetFileSystemEntries place) "nothing could be made"))
            }
        ]

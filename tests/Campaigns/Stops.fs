/// Every method, stopped at every state by every signal, and gone on with: `./build.sh Campaign stops [METHOD]`; see
/// `docs/campaigns/stops.md`.
module Tests.Campaigns.Stops

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Threading.Tasks
open Tests.Support

let private signals = [ StopAt.Kill; StopAt.Terminate; StopAt.Interrupt ]

/// Runs the campaign over the methods of that name, all without one, and writes its page. The exit code: 0 where nothing was found.
let run (only: string option) =
    let names =
        StopAt.runs.Value
        |> List.map fst
        |> List.filter (fun name -> only |> Option.forall ((=) name))

    if names.IsEmpty then
        let known = StopAt.runs.Value |> List.map fst |> String.concat ", "
        eprintfn $"There is no method '{only.Value}'. There are: {known}."
        2
    elif StopAt.interruptIsIgnored () then
        eprintfn
            "SIGINT is ignored here, as in the background of a shell without job control: start the campaign in the foreground, or by setsid with signals at their defaults."

        2
    else
        let root = Directory.CreateTempSubdirectory "sslr-stops-"
        let clock = Stopwatch.StartNew()
        let tell = obj ()

        let study (name: string) =
            let folder (part: string) =
                Path.Combine(root.FullName, String.filter Char.IsAsciiLetterOrDigit name + "-" + part)

            let code, output = StopAt.run (folder "whole") name None

            if code <> 0 then
                let failed: StopAt.Chain =
                    {
                        Faults = [ "without a stop", output ]
                        Late = []
                    }

                name, [ for signal in signals -> signal, failed ]
            else
                let whole = StopAt.outcome (folder "whole") name

                let found =
                    [
                        for signal in signals -> signal, StopAt.chain (folder signal.Name) name signal whole
                    ]

                lock tell (fun () ->
                    let minutes = clock.Elapsed.TotalMinutes.ToString("F1", CultureInfo.InvariantCulture)
                    let faults = found |> List.sumBy (fun (_, chain) -> chain.Faults.Length)
                    eprintfn $"{name}: {faults} found, {minutes} min"

                    for signal, chain in found do
                        for state, fault in chain.Faults do
                            eprintfn $"  {signal.Name}, {state}: {fault}")

                Directory.Delete(folder "whole", true)

                for signal in signals do
                    Directory.Delete(folder signal.Name, true)

                name, found

        let results = Array.zeroCreate names.Length

        Parallel.For(
            0,
            names.Length,
            ParallelOptions(MaxDegreeOfParallelism = Environment.ProcessorCount),
            fun i -> results[i] <- study names[i]
        )
        |> ignore

        root.Delete true
        let states = StopAt.states |> List.map StopAt.name

        let rows =
            [
                for name, found in results do
                    [
                        name
                        for signal in signals do
                            let chain = found |> List.find (fst >> (=) signal) |> snd

                            if chain.Faults.IsEmpty then
                                $"{states.Length - chain.Late.Length} of {states.Length}"
                            else
                                string chain.Faults.Length + " found"
                    ]
            ]

        let faults = results |> Seq.collect snd |> Seq.sumBy (fun (_, chain) -> chain.Faults.Length)

        let late =
            results
            |> Seq.collect snd
            |> Seq.collect (fun (_, chain) -> chain.Late)
            |> Seq.countBy id
            |> Seq.map (fun (state, count) -> $"{state} {count}")
            |> String.concat ", "

        let minutes = clock.Elapsed.TotalMinutes.ToString("F1", CultureInfo.InvariantCulture)
        let list = String.concat ", " states

        CampaignPage.publish
            only.IsNone
            {
                Name = "stops"
                Title = "Stopped at every state"
                Intro =
                    "Each method is trained for 400 steps on small images, scored, fine-tuned for 400 steps and rendered, once without a stop, and once for each signal in a chain: stopped at the first state, continued, stopped at the next, to the end. Weights, metrics and scores must then be the same, bit for bit, nothing half-written may be left, and each stop must end with the exit code of its signal."
                Header = [ "method"; yield! signals |> List.map _.Name ]
                Rows = rows
                Notes =
                    [
                        $"States: {list}."
                        "A process sends itself the signal when it is in the state; where a file tells that, a thread looks for it without a pause. A checkpoint is being written, or a page rendered, from the moment that its temporary file is there."
                        "In the cells: states that were met for sure. Where the signal came a moment too late the run was stopped just after them, which must change nothing either: "
                        + (if late = "" then "none." else late + ".")
                        $"{faults} found in {results.Length * signals.Length * states.Length} stops, {minutes} minutes."
                    ]
            }

        if faults = 0 then 0 else 1

let main (arguments: string list) =
    match arguments with
    | [ "stops" ] -> run None
    | [ "stops"; name ] -> run (Some name)
    | _ ->
        eprintfn "usage: campaign stops [METHOD]"
        2

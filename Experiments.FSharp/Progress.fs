namespace SslResearch

open System
open System.Diagnostics
open System.Threading
open SslResearch.Core.Training
open Spectre.Console

/// What a person sees while runs are executed.
[<RequireQualifiedAccess>]
module Progress =
    let private left (t: TimeSpan) =
        if t.TotalHours >= 1. then
            $"{int t.TotalHours}:{t.Minutes:D2}:{t.Seconds:D2}"
        else
            $"{t.Minutes}:{t.Seconds:D2}"

    let private percent (x: float) =
        x.ToString("F1", Globalization.CultureInfo.InvariantCulture)

    let private number (places: int) (x: float) =
        x.ToString($"F{places}", Globalization.CultureInfo.InvariantCulture)

    let private summary (run: StoredRun) =
        let scores =
            run.Scores
            |> List.map (fun s -> $"{s.Protocol} {percent s.Value} %%")
            |> String.concat ", "

        let seconds = run.Training.Seconds + run.EvaluationSeconds
        let scores = if scores = "" then "no scores" else scores
        $"{run.Verdict}; {scores}; {number 0 seconds} s"

    /// Lines for a log file: one at each event, and one every few seconds of training.
    let lines (write: string -> unit) : IRunReporter =
        let clock = Stopwatch.StartNew()
        let mutable next = TimeSpan.Zero
        let mutable first = true

        let write (text: string) =
            let time =
                DateTime.UtcNow.ToLocalTime().ToString("HH:mm:ss", Globalization.CultureInfo.InvariantCulture)

            write $"{time}  {text}"

        // What has no value yet is not said.
        let known name places (value: float) =
            if Double.IsFinite value then
                $"  {name} {number places value}"
            else
                ""

        { new IRunReporter with
            member _.Started(title, seed, position, total) =
                next <- clock.Elapsed + TimeSpan.FromSeconds 2.
                first <- true
                write $"[{position}/{total}] {title}, seed {seed}"

            member _.Step r =
                if first && r.FirstStep > 0L then
                    write $"  goes on from step {r.FirstStep} of {r.TotalSteps}"

                first <- false

                if clock.Elapsed >= next || r.Step = r.TotalSteps then
                    next <- clock.Elapsed + TimeSpan.FromSeconds 5.
                    let deviation = known "deviation" 2 r.Deviation
                    let rank = known "RankMe" 0 r.RankMe

                    write
                        $"  step {r.Step}/{r.TotalSteps}  epoch {r.Epoch}  loss {number 3 r.Loss}{deviation}{rank}  {number 0 r.ImagesPerSecond} img/s  {left r.Left} left"

            member _.Scoring what = write $"  scoring: {what}"
            member _.Finished run = write $"  done: {summary run}"

            member _.Failed(title, seed, error) =
                write $"  FAILED: {title}, seed {seed}: {Faults.message error}"

            member _.Note text = write text
        }

    /// Renders the results anew whenever a run is finished, then tells the inner reporter.
    let rendering (render: unit -> unit) (inner: IRunReporter) : IRunReporter =
        { new IRunReporter with
            member _.Started(title, seed, position, total) =
                inner.Started(title, seed, position, total)

            member _.Step report = inner.Step report
            member _.Scoring what = inner.Scoring what

            member _.Finished run =
                render ()
                inner.Finished run

            member _.Failed(title, seed, error) = inner.Failed(title, seed, error)
            member _.Note text = inner.Note text
        }

    /// A bar of full and empty cells.
    let private bar cells (part: float) =
        let full = int (Math.Round(float cells * Math.Clamp(part, 0., 1.)))
        String('━', full), String('─', cells - full)

    let private fit width (text: string) =
        if text.Length <= width then
            text
        else
            text.Substring(0, max 0 (width - 1)) + "…"

    /// Columns of finished runs on a terminal: name, seed, the scores that find room, verdict.
    type private Columns(protocols: string list, width: int) =
        let nameWidth = 26
        let verdictWidth = 12
        let cell = 16
        let room = max 1 ((width - nameWidth - 6 - verdictWidth) / cell)
        let shown = protocols |> List.truncate room

        let line (name: string) (seed: string) (cells: string list) (verdict: string) =
            let cells =
                cells
                |> List.map (fun c -> (fit (cell - 1) c).PadRight cell)
                |> String.concat ""

            fit width $"{(fit (nameWidth - 1) name).PadRight nameWidth}{seed.PadRight 6}{cells}{verdict}"

        member _.Header = line "run" "seed" shown "verdict"

        member _.Line(run: StoredRun) =
            let score protocol =
                run.Scores
                |> List.tryFind (fun s -> s.Protocol = protocol)
                |> Option.map (fun s -> percent s.Value)
                |> Option.defaultValue "–"

            line run.Name (string run.Seed) (shown |> List.map score) run.Verdict

    /// On a terminal: a line for each run that is stored or ends, which stays, and below them the run at work and the time that is left for it
    /// and for all.
    let live
        (stopping: string)
        (protocols: string list)
        (before: StoredRun list)
        (stop: CancellationToken)
        (work: IRunReporter -> 'Result)
        : 'Result =
        let width = max 40 (AnsiConsole.Profile.Width - 1)
        let columns = Columns(protocols, width)
        let clock = Stopwatch.StartNew()
        let mutable title = ""
        let mutable position, total = 0, 0
        let mutable part = 0.
        let mutable detail = "starting"
        let mutable runLeft: TimeSpan option = None
        // Of trainings that ended here, with their evaluation: what needs none says nothing of the others.
        let mutable began = clock.Elapsed
        let mutable ended, spent = 0, TimeSpan.Zero

        let allLeft () =
            let waiting = float (total - position)

            match runLeft with
            | Some rest -> Some(rest + waiting * (spent + (clock.Elapsed - began) + rest) / float (ended + 1))
            | None when ended > 0 -> Some(waiting * spent / float ended)
            | None -> None

        let picture () : Rendering.IRenderable =
            let full, empty = bar (min 30 (width / 3)) part

            let total =
                allLeft ()
                |> Option.map (fun t -> $", about {left t} left for all")
                |> Option.defaultValue ""

            Rows
                [|
                    Markup(Markup.Escape(fit width $"{title}{total}")) :> Rendering.IRenderable
                    Markup $"[green]{full}[/][grey]{empty}[/] {Markup.Escape(fit (width - 32) detail)}"
                |]

        let say (text: string) =
            AnsiConsole.MarkupLine(Markup.Escape text)

        say columns.Header

        for run in before do
            say (columns.Line run)

        AnsiConsole
            .Live(picture ())
            .AutoClear(true)
            .Start(fun context ->
                let draw () = context.UpdateTarget(picture ())

                let close trained =
                    if trained then
                        ended <- ended + 1
                        spent <- spent + (clock.Elapsed - began)

                    runLeft <- None

                use _ =
                    stop.Register(fun () ->
                        detail <- stopping
                        draw ())

                work
                    { new IRunReporter with
                        member _.Started(run, seed, at, all) =
                            position <- at
                            total <- all
                            title <- $"[{at}/{all}] {run}, seed {seed}"
                            part <- 0.
                            detail <- "starting"
                            began <- clock.Elapsed
                            runLeft <- None
                            draw ()

                        member _.Step r =
                            part <- float r.Step / float (max 1L r.TotalSteps)
                            runLeft <- Some r.Left

                            let resumed =
                                if r.FirstStep > 0L then
                                    $"from step {r.FirstStep}  "
                                else
                                    ""

                            detail <-
                                $"{left r.Left} left  {resumed}loss {number 3 r.Loss}  {number 0 r.ImagesPerSecond} img/s"

                            draw ()

                        member _.Scoring what =
                            part <- 1.
                            runLeft <- runLeft |> Option.map (fun _ -> TimeSpan.Zero)
                            detail <- $"scoring: {what}"
                            draw ()

                        member _.Finished run =
                            close (run.Training.Steps > 0L)
                            say (columns.Line run)
                            draw ()

                        member _.Failed(run, seed, error) =
                            close false
                            say $"FAILED: {run}, seed {seed}: {Faults.message error}"

                        member _.Note text = say text
                    })

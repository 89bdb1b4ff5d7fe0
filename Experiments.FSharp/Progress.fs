namespace SslResearch

open System
open System.Diagnostics
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

        { new IRunReporter with
            member _.Started(title, seed, position, total) =
                next <- clock.Elapsed + TimeSpan.FromSeconds 2.
                write $"[{position}/{total}] {title}, seed {seed}"

            member _.Step r =
                if clock.Elapsed >= next || r.Step = r.TotalSteps then
                    next <- clock.Elapsed + TimeSpan.FromSeconds 5.

                    write
                        $"  step {r.Step}/{r.TotalSteps}  epoch {r.Epoch + 1}  loss {number 3 r.Loss}  deviation {number 2 r.Deviation}  RankMe {number 0 r.RankMe}  {number 0 r.ImagesPerSecond} img/s  {left r.Left} left"

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
    let private bar (part: float) =
        let cells = 24
        let full = int (Math.Round(float cells * Math.Clamp(part, 0., 1.)))
        String('━', full), String('─', cells - full)

    /// The tables as they are now, filling as runs end, with a bar for the run at work; on a terminal.
    let live (tables: unit -> RenderedTable list) (work: IRunReporter -> 'Result) : 'Result =
        let grid (t: RenderedTable) : Rendering.IRenderable =
            let table = Table(Border = TableBorder.Simple, Title = TableTitle(Markup.Escape t.Title))

            for header in t.Headers do
                table.AddColumn(TableColumn(Markup.Escape header)) |> ignore

            for row in t.Rows do
                table.AddRow [| for cell in row -> Markup(Markup.Escape cell) :> Rendering.IRenderable |]
                |> ignore

            table

        let mutable shown = tables () |> List.map grid
        let mutable title = ""
        let mutable part = 0.
        let mutable detail = ""

        let picture () : Rendering.IRenderable =
            let full, empty = bar part

            let line = Markup $"{Markup.Escape title} [green]{full}[/][grey]{empty}[/] {Markup.Escape detail}"

            Rows [| yield! shown; line :> Rendering.IRenderable |]

        AnsiConsole
            .Live(picture ())
            .AutoClear(true)
            .Overflow(VerticalOverflow.Crop)
            .Cropping(VerticalOverflowCropping.Top)
            .Start(fun context ->
                let draw () = context.UpdateTarget(picture ())

                let line (text: string) =
                    AnsiConsole.MarkupLine(Markup.Escape text)

                work
                    { new IRunReporter with
                        member _.Started(run, seed, position, total) =
                            title <- $"[{position}/{total}] {run}, seed {seed}"
                            part <- 0.
                            detail <- ""
                            draw ()

                        member _.Step r =
                            part <- float r.Step / float (max 1L r.TotalSteps)

                            detail <- $"loss {number 3 r.Loss}  {number 0 r.ImagesPerSecond} img/s  {left r.Left} left"

                            draw ()

                        member _.Scoring what =
                            part <- 1.
                            detail <- $"scoring: {what}"
                            draw ()

                        member _.Finished _ =
                            shown <- tables () |> List.map grid
                            draw ()

                        member _.Failed(run, seed, error) =
                            line $"FAILED: {run}, seed {seed}: {Faults.message error}"

                        member _.Note text = line text
                    })

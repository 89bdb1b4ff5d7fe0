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

    let private chain (error: exn) =
        let inner =
            match error with
            | :? AggregateException as a -> a.GetBaseException()
            | e -> e

        match inner with
        | :? SslResearch.Core.Data.DataException
        | :? SslResearch.Core.Data.LoaderException
        | :? SafetensorsException
        | :? SslResearch.Core.Runtime.TorchRuntimeException
        | :? TrainException -> inner.Message
        | _ -> $"{inner.GetType().Name}: {inner.Message}\n{inner.StackTrace}"

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
                write $"  FAILED: {title}, seed {seed}: {chain error}"

            member _.Note text = write text
        }

    type private RunTask = { Bar: ProgressTask; Title: string }

    /// A live bar on a terminal around the whole work.
    let live (work: IRunReporter -> 'Result) : 'Result =
        let columns: ProgressColumn[] =
            [|
                TaskDescriptionColumn(Alignment = Justify.Left)
                ProgressBarColumn(Width = Nullable 24)
                PercentageColumn()
            |]

        AnsiConsole
            .Progress()
            .AutoRefresh(true)
            .AutoClear(true)
            .HideCompleted(true)
            .Columns(columns)
            .Start(fun context ->
                let mutable current: RunTask option = None

                let stop () =
                    current |> Option.iter (fun task -> task.Bar.StopTask())
                    current <- None

                let line (text: string) =
                    AnsiConsole.MarkupLine(Markup.Escape text)

                let describe task (detail: string) =
                    task.Bar.Description <- Markup.Escape $"{task.Title}  {detail}"

                work
                    { new IRunReporter with
                        member _.Started(title, seed, position, total) =
                            stop ()
                            let title = $"[{position}/{total}] {title}, seed {seed}"

                            current <-
                                Some
                                    {
                                        Bar = context.AddTask(Markup.Escape title, true, 1.)
                                        Title = title
                                    }

                        member _.Step r =
                            current
                            |> Option.iter (fun task ->
                                task.Bar.Value <- float r.Step / float (max 1L r.TotalSteps)

                                describe
                                    task
                                    $"loss {number 3 r.Loss}  {number 0 r.ImagesPerSecond} img/s  {left r.Left} left")

                        member _.Scoring what =
                            current |> Option.iter (fun task -> describe task $"scoring: {what}")

                        member _.Finished run =
                            let title = current |> Option.map _.Title |> Option.defaultValue run.Name
                            stop ()
                            line $"{title}: {summary run}"

                        member _.Failed(title, seed, error) =
                            stop ()
                            line $"FAILED: {title}, seed {seed}: {chain error}"

                        member _.Note text = line text
                    })

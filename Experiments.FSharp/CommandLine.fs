namespace SslResearch

open System
open System.Runtime.InteropServices
open System.Threading
open SslResearch.Core.Data

/// How the program ends.
[<RequireQualifiedAccess>]
module ExitCode =
    /// Everything done.
    [<Literal>]
    let Success = 0

    /// A run failed, or a check found problems.
    [<Literal>]
    let Failure = 1

    /// Wrong usage.
    [<Literal>]
    let WrongUsage = 2

    /// Stopped on request, with everything saved.
    [<Literal>]
    let Interrupted = 130

/// A command that cannot be carried out as given.
exception internal UsageError of string

/// What all commands share.
module internal CommandLine =
    let say (text: string) = Console.Out.WriteLine text
    let complain (text: string) = Console.Error.WriteLine text

    let dataRoot (given: string option) = DataRoot.Resolve(Option.toObj given)

    let stopping = "Stopping: the state is being saved. A second signal ends at once."

    /// Runs until done or told to stop: a first SIGINT, SIGTERM or SIGHUP asks, which is told, a second ends the process.
    let withSignalsTold (tell: string -> unit) (work: CancellationToken -> 'T) =
        use stop = new CancellationTokenSource()

        let handle (context: PosixSignalContext) =
            context.Cancel <- true

            if stop.IsCancellationRequested then
                Environment.Exit ExitCode.Interrupted
            else
                tell stopping
                stop.Cancel()

        use _ = PosixSignalRegistration.Create(PosixSignal.SIGINT, handle)
        use _ = PosixSignalRegistration.Create(PosixSignal.SIGTERM, handle)
        use _ = PosixSignalRegistration.Create(PosixSignal.SIGHUP, handle)
        work stop.Token

    /// The same, told on standard error.
    let withSignals (work: CancellationToken -> 'T) = withSignalsTold complain work

namespace SslResearch

open System
open System.IO
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.Core.Training

/// What a person is told of an error.
[<RequireQualifiedAccess>]
module Faults =
    /// Shows where an unexpected error arose, if it is set to anything.
    [<Literal>]
    let TraceVariable = "SSLR_TRACE"

    let rec private innermost (error: exn) =
        match error with
        | :? AggregateException as several -> innermost (several.GetBaseException())
        | other -> other

    /// The message of an error that says itself what, where and how to mend it; else its kind and message, and how to see more.
    let message (error: exn) =
        match innermost error with
        | :? DataException
        | :? LoaderException
        | :? SafetensorsException
        | :? TorchRuntimeException
        | :? TrainException
        | :? ResultsException as known -> known.Message
        | :? IOException
        | :? UnauthorizedAccessException as io ->
            $"A file or folder cannot be used: {io.Message} Free space or mend permissions, or name another folder."
        | other ->
            let kind = $"Unexpected {other.GetType().Name}: {other.Message}"

            if String.IsNullOrEmpty(Environment.GetEnvironmentVariable TraceVariable) then
                $"{kind} ({TraceVariable}=1 shows where; please report it.)"
            else
                $"{kind}\n{other.StackTrace}"

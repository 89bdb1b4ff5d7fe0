/// What errors say.
module Tests.Support.Refusals

open System
open Expecto

/// The message of the error, of this kind, that an action must end with.
let messageOf<'e, 'a when 'e :> exn> (f: unit -> 'a) =
    try
        f () |> ignore
        failtest "accepted"
    with :? 'e as e ->
        e.Message

/// The message of the refused argument that an action must end with.
let message f = messageOf<ArgumentException, _> f

/// The action must be refused with a message that contains this.
let refused part f =
    Expect.stringContains (message f) part part

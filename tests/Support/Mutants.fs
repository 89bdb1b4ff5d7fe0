/// Damage to a file, drawn from a seed: what disks, transfers and strangers do to bytes.
module Tests.Support.Mutants

open System
open System.Buffers.Binary
open SslResearch.Core.Runtime

/// Numbers that readers get wrong.
let private numbers =
    [|
        0L
        1L
        -1L
        0x7FL
        0x80L
        0xFFFFL
        0x7FFF_FFFFL
        0x8000_0000L
        0xFFFF_FFFFL
        0x1_0000_0000L
        Int64.MaxValue
        Int64.MinValue
    |]

/// One change. `below n` draws a number from 0 to n - 1.
let private change (below: int -> int) (bytes: byte[]) =
    let at = below bytes.Length
    let span = 1 + below (min 64 (bytes.Length - at))

    let copied (edit: byte[] -> unit) =
        let bytes = Array.copy bytes
        edit bytes
        bytes

    match below 12 with
    | 0
    | 1 -> copied (fun b -> b[at] <- b[at] ^^^ (1uy <<< below 8))
    | 2 -> copied (fun b -> b[at] <- byte (below 256))
    | 3 ->
        copied (fun b ->
            for i in at .. at + span - 1 do
                b[i] <- byte (below 256))
    | 4 -> copied (fun b -> Array.fill b at span 0uy)
    | 5 -> Array.truncate at bytes
    | 6 -> Array.concat [ bytes[.. at - 1]; bytes[at + span ..] ]
    | 7 -> Array.concat [ bytes[.. at - 1]; bytes[at .. at + span - 1]; bytes[at..] ]
    | 8 -> Array.concat [ bytes[.. at - 1]; Array.init span (fun _ -> byte (below 256)); bytes[at..] ]
    | 9 ->
        // Two parts change places.
        let other = below bytes.Length
        let first, second = min at other, max at other
        let size = min span (min (second - first) (bytes.Length - second))

        copied (fun b ->
            Array.blit bytes second b first size
            Array.blit bytes first b second size)
    | 10 ->
        // A number in binary, near to the file's own length or at an end of its range.
        let value =
            if below 2 = 0 then
                numbers[below numbers.Length]
            else
                int64 (bytes.Length + below 5 - 2)

        copied (fun b ->
            let whole = Array.zeroCreate<byte> 8

            if below 2 = 0 then
                BinaryPrimitives.WriteInt64LittleEndian(whole.AsSpan(), value)
                Array.blit whole 0 b at (min (1 <<< below 4) (b.Length - at))
            else
                let size = min (1 <<< below 4) (b.Length - at)
                BinaryPrimitives.WriteInt64BigEndian(whole.AsSpan(), value)
                Array.blit whole (8 - size) b at size)
    | _ ->
        // A digit of a number in text, from the drawn place on.
        match Array.tryFindIndex (fun b -> b >= 48uy && b <= 57uy) bytes[at..] with
        | Some i -> copied (fun b -> b[at + i] <- byte (48 + below 10))
        | None -> copied (fun b -> b[at] <- byte (below 256))

/// The file with one to three changes; the same seed gives the same bytes.
let mutate (seed: uint64) (whole: byte[]) : byte[] =
    let mutable draws = Philox(seed, RandomPurpose.Evaluation)

    // A mutable struct is not captured.
    let drawn = Array.init 4096 (fun _ -> draws.NextUInt32())
    let mutable next = 0

    let below (n: int) =
        next <- next + 1
        int (uint64 drawn[next % drawn.Length] * uint64 (max n 1) >>> 32)

    let mutable bytes = whole

    for _ in 0 .. below 3 do
        if bytes.Length > 0 then
            bytes <- change below bytes

    bytes

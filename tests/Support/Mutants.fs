/// Damaged copies of bytes, the same for the same seed.
module Tests.Support.Mutants

open System

/// A stream of numbers from a seed, as long as its holder draws.
type private Draw(seed: uint64) =
    let mutable state = seed

    /// SplitMix64 (Steele, Lea, Flood 2014).
    member _.Next() =
        state <- state + 0x9E3779B97F4A7C15UL
        let z = (state ^^^ (state >>> 30)) * 0xBF58476D1CE4E5B9UL
        let z = (z ^^^ (z >>> 27)) * 0x94D049BB133111EBUL
        z ^^^ (z >>> 31)

    /// 0 to n - 1.
    member d.Below n = int (d.Next() % uint64 (max 1 n))

/// Values that lengths and counts go wrong with.
let private edges =
    [|
        0UL
        1UL
        0x7FUL
        0x80UL
        0xFFUL
        0x7FFFUL
        0xFFFFUL
        0x7FFFFFFFUL
        0x80000000UL
        0xFFFFFFFFUL
        0x7FFFFFFFFFFFFFFFUL
        UInt64.MaxValue
    |]

let private once (d: Draw) (bytes: byte[]) =
    let length = bytes.Length
    let copy = Array.copy bytes

    let part () =
        let start = d.Below length
        start, 1 + d.Below(min 64 (length - start))

    match (if length = 0 then 7 else d.Below 8) with
    | 0 ->
        let at = d.Below length
        copy[at] <- copy[at] ^^^ (1uy <<< d.Below 8)
        copy
    | 1 ->
        copy[d.Below length] <- byte (d.Next())
        copy
    | 2 -> copy[.. d.Below length - 1]
    | 3 ->
        let start, count = part ()
        Array.concat [ copy[.. start + count - 1]; copy[start..] ]
    | 4 ->
        let start, count = part ()
        Array.append copy[.. start - 1] copy[start + count ..]
    | 5 ->
        let start, count = part ()
        Array.blit bytes start copy (d.Below(length - count + 1)) count
        copy
    | 6 ->
        // A length, in either byte order, of 1, 2, 4 or 8 bytes.
        let width = min length (1 <<< d.Below 4)
        let at = d.Below(length - width + 1)
        let value = BitConverter.GetBytes edges[d.Below edges.Length]
        let field = value[.. width - 1]
        Array.blit (if d.Below 2 = 0 then field else Array.rev field) 0 copy at width
        copy
    | _ -> Array.append copy (Array.init (1 + d.Below 32) (fun _ -> byte (d.Next())))

/// The mutant of a number: one to four of bit flip, byte set, truncation, duplication, removal, splice, length-field edit and appended bytes.
let mutant (seed: uint64) (bytes: byte[]) =
    let d = Draw(seed * 0xD1342543DE82EF95UL + 1UL)
    let mutable result = bytes

    for _ in 0 .. d.Below 4 do
        result <- once d result

    result

/// Reading of the reference values under tests/Conformance (see the README there for the schema).
module Tests.Support.Golden

open System
open System.IO
open System.Text.Json
open Expecto

let private folder = Path.Combine(AppContext.BaseDirectory, "Conformance")

let private documents = Collections.Concurrent.ConcurrentDictionary<string, JsonElement>()

/// The whole file, for example `load "losses"`.
let load (topic: string) =
    documents.GetOrAdd(
        topic,
        fun t -> JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, t + ".json"))).RootElement
    )

let private prop (name: string) (e: JsonElement) = e.GetProperty name

let tryProp (name: string) (e: JsonElement) =
    match e.TryGetProperty name with
    | true, v -> Some v
    | _ -> None

let id (e: JsonElement) = (prop "id" e).GetString()

/// The part of an id before its first dot.
let familyOf (id: string) = id.Split('.')[0]

let private entries (topic: string) =
    (load topic |> prop "entries").EnumerateArray() |> Seq.toList

/// The files of numbers; digits.json is data.
let topics = [ "losses"; "optim"; "images"; "models"; "tokens"; "protocols"; "statistics" ]

/// The ids of all entries of a file.
let ids (topic: string) = entries topic |> List.map id

let private taken = Collections.Concurrent.ConcurrentDictionary<string * string, unit>()

let private take topic e =
    taken.TryAdd((topic, id e), ()) |> ignore
    e

/// The ids of a file that no test of this process has taken.
let untaken (topic: string) =
    ids topic |> List.filter (fun id -> not (taken.ContainsKey((topic, id))))

/// The entry of a file with this id, for a test that applies it.
let entry (topic: string) (name: string) =
    entries topic |> List.find (fun e -> id e = name) |> take topic

/// What can be made of a file's entries, for tests that apply just these.
let choose (topic: string) (make: JsonElement -> 'a option) =
    [
        for e in entries topic do
            match make e with
            | Some made ->
                take topic e |> ignore
                made
            | None -> ()
    ]

/// The entries of these families, for tests that apply all of them.
let family (topic: string) (names: string list) =
    choose topic (fun e ->
        if List.contains (familyOf (id e)) names then
            Some e
        else
            None)

let floats (e: JsonElement) =
    [| for x in e.EnumerateArray() -> x.GetDouble() |]

let ints (e: JsonElement) =
    [| for x in e.EnumerateArray() -> x.GetInt32() |]

/// Shape and row-major float64 values of a named input of an entry, regenerated from its formula and checked.
let rec input (name: string) (e: JsonElement) : int64[] * float[] =
    let spec = e |> prop "inputs" |> prop name
    let shape = [| for d in (prop "shape" spec).EnumerateArray() -> d.GetInt64() |]
    let n = shape |> Array.fold (*) 1L |> int
    let gen = prop "gen" spec

    let number name fallback =
        tryProp name gen
        |> Option.map (fun v -> v.GetDouble())
        |> Option.defaultValue fallback

    let fn name =
        match (tryProp name gen |> Option.map (fun v -> v.GetString())) with
        | Some "cos" -> Math.Cos
        | _ -> Math.Sin

    let wave i =
        let x = float i

        let first =
            number "offset" 0.
            + number "amp" 1.
              * (fn "fn") (number "a" 0. + number "b" 0. * x + number "c" 0. * x * x)

        match tryProp "amp2" gen with
        | Some amp2 -> first + amp2.GetDouble() * (fn "fn2") (number "a2" 0. + number "b2" 0. * x)
        | None -> first

    let values =
        match (prop "kind" gen).GetString() with
        | "wave" -> Array.init n wave
        | "classwave" ->
            let d = int shape[shape.Length - 1]
            let _, labels = input ((prop "labels" gen).GetString()) e
            let w = number "w" 0.
            Array.init n (fun i -> wave i + Math.Sin(w * (labels[i / d] + 1.) * float (i % d + 1)))
        | "ints" ->
            let whole name =
                tryProp name gen |> Option.map (fun v -> v.GetInt64()) |> Option.defaultValue 0L

            Array.init n (fun i ->
                let i = int64 i
                float ((whole "p" * i * i + whole "q" * i + whole "r") % whole "m" + whole "add"))
        | "list" -> floats (prop "values" gen)
        | kind -> failwith $"unknown generator '{kind}' of input {name}"

    shape, values

/// A bound of an entry's tolerance, `rtol` or `atol`, in float64 or float32.
let bound (e: JsonElement) double (name: string) =
    (e |> prop "tolerance" |> prop (if double then "f64" else "f32") |> prop name).GetDouble()

/// Largest error of a gradient as a part of its norm; in float64 the values' own.
let gradientBound (e: JsonElement) double =
    bound e double (if double then "rtol" else "grad_rtol_of_norm")

/// Agreement as the files define it: |got - expected| <= atol + rtol * |expected|.
let close (rtol: float) (atol: float) (expected: float) (got: float) =
    abs (got - expected) <= atol + rtol * abs expected

/// Agreement within the bounds that an entry states for float64 or float32.
let within (e: JsonElement) double (expected: float) (got: float) =
    let part = bound e double
    close (part "rtol") (part "atol") expected got

/// Agreement, expected.
let agrees what rtol atol expected got =
    Expect.isTrue (close rtol atol expected got) $"{what}: {expected} against {got}"

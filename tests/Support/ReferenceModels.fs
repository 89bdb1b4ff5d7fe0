/// Weights and comparisons of models.json.
module Tests.Support.ReferenceModels

open System
open System.Text.Json
open Expecto
open TorchSharp
open Tests.Support.Networks

/// The two closed-form weight fills of models.json, for parameter number k.
let fill kind k (shape: int64[]) (mark: string) =
    let n = shape |> Array.fold (*) 1L

    match kind with
    | "wave" -> Array.init (int n) (fun i -> 0.05 * sin (0.1 * float i + float k) + (if mark = "norm" then 1. else 0.))
    | _ ->
        let fanIn = float (n / shape[0])

        Array.init (int n) (fun i ->
            let i = int64 i

            let v =
                2. * float ((i * i % 65521L * 7L + i * 12345L + int64 k * 4099L + 17L) % 65521L)
                / 65521.
                - 1.

            if mark = "norm" then 1. + 0.1 * v
            elif shape.Length >= 2 then v * sqrt (6. / fanIn)
            else 0.1 * v)

/// Gives the parameters of a network the values that an entry states; `rename` leads from its names to ours, None to no parameter.
let load (e: JsonElement) (rename: string -> string option) (m: torch.nn.Module) =
    use _ = torch.no_grad ()
    let own = parameters m |> Map.ofList

    for p in e.GetProperty("parameters").EnumerateArray() do
        let name = p[1].GetString()
        let shape = [| for d in p[2].EnumerateArray() -> d.GetInt64() |]

        match rename name with
        | Some name ->
            let target = own[name]
            Expect.equal target.shape shape $"shape of {name}"

            use value =
                tensor shape (fill (e.GetProperty("fill").GetString()) (p[0].GetInt32()) shape (p[3].GetString()))

            target.copy_ value |> ignore
        | None -> ()

/// Compares a tensor with a summary of models.json within a bound on the norm of the difference.
let agrees (what: string) (bound: float) (summary: JsonElement) (got: float[]) =
    let number (name: string) = summary.GetProperty(name).GetDouble()
    let n = float got.Length
    let norm = sqrt (number "sumsq")
    let rms = norm / sqrt n
    let first = Golden.floats (summary.GetProperty "first")

    let near name tolerance expected value =
        Expect.isLessThanOrEqual (abs (value - expected)) tolerance $"{what}: {name}, expected {expected}, got {value}"

    near "norm" (bound * norm) norm (got |> Array.sumBy (fun x -> x * x) |> sqrt)
    // A difference of norm ε·|x| moves the mean by at most ε times the root mean square.
    near "mean" (bound * rms) (number "mean") (Array.average got)

    first
    |> Array.iteri (fun i x -> near $"element {i}" (bound * min (10. * rms) norm) x got[i])

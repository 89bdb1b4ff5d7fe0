/// Numbers without structure, single numbers of tensors, comparisons, and central differences.
module Tests.Support.Numbers

open Expecto
open TorchSharp
open Tests.Support.Networks

/// So many numbers from −1 to 1 without structure.
let unstructured (seed: float) count =
    Array.init count (fun i -> sin (seed + 1.7 * float i + 0.013 * float (i * i)))

/// The same by a whole seed.
let arbitrary (seed: int) count = unstructured (float seed) count

/// The same as (rows, width), float64.
let matrix seed rows width =
    arbitrary seed (rows * width) |> tensor [| int64 rows; int64 width |]

/// The number that a tensor of one element holds.
let scalar (t: torch.Tensor) = Array.exactlyOne (doubles t)

/// |got − expected| ≤ tolerance · max(1, |expected|).
let close what tolerance (expected: float) (got: float) =
    Expect.isLessThanOrEqual
        (abs (got - expected))
        (tolerance * max 1. (abs expected))
        $"{what}: {expected} against {got}"

/// The same for every element, and equal shapes.
let same what tolerance (expected: torch.Tensor) (got: torch.Tensor) =
    Expect.equal got.shape expected.shape $"shape of {what}"
    Array.iter2 (close what tolerance) (doubles expected) (doubles got)

/// exp(x / temperature), divided by their sum.
let softmax (temperature: float) (row: float[]) =
    let top = Array.max row
    let e = row |> Array.map (fun x -> exp ((x - top) / temperature))
    e |> Array.map (fun x -> x / Array.sum e)

/// Central differences of a function of many numbers.
let differences (f: float[] -> float) (x: float[]) =
    let h = 1e-5

    Array.init x.Length (fun i ->
        let at d =
            f (x |> Array.mapi (fun j v -> if j = i then v + d else v))

        (at h - at -h) / (2. * h))

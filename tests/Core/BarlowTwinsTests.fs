module Tests.Core.BarlowTwinsTests

open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks

/// Eq. 1 and 2 of the paper, loop by loop, on dimensions of mean 0 and deviation 1 (biased).
let private naive lambda (a: float[][]) (b: float[][]) =
    let n, d = float a.Length, a[0].Length

    let standardised (z: float[][]) =
        let column j = z |> Array.map (fun row -> row[j])

        let scaled =
            [|
                for j in 0 .. d - 1 do
                    let c = column j
                    let mean = Array.average c
                    let variance = c |> Array.averageBy (fun x -> (x - mean) * (x - mean))
                    c |> Array.map (fun x -> (x - mean) / sqrt (variance + 1e-5))
            |]

        scaled

    let x, y = standardised a, standardised b

    let one i j =
        let c = Array.fold2 (fun s u v -> s + u * v) 0. x[i] y[j] / n
        if i = j then (1. - c) * (1. - c) else lambda * c * c

    Seq.sum
        [
            for i in 0 .. d - 1 do
                for j in 0 .. d - 1 -> one i j
        ]

let private golden =
    let loss deviation (c: GoldenLoss.Case) =
        let lambda =
            c.Number(
                if Golden.id c.Entry |> _.Contains("lightly") then
                    "lambda_param"
                elif Golden.id c.Entry |> _.Contains("solo") then
                    "lamb"
                else
                    "lambd"
            )

        let scale =
            if Golden.id c.Entry |> _.Contains("solo") then
                c.Number "scale_loss"
            else
                1.

        BarlowTwinsLoss.Loss(c.Input "A", c.Input "B", lambda, scale, deviation)

    [
        for size in [ "small"; "rich" ] do
            for name in [ "barlow"; "barlow_lightly"; "barlow_solo" ] do
                yield! GoldenLoss.tests $"{name}.{size}" (loss BarlowDeviation.Biased)

            yield! GoldenLoss.tests $"barlow_unbiased.{size}" (loss BarlowDeviation.Unbiased)
    ]

let private pair (shape: int64 list) =
    GoldenLoss.arbitrary 1. shape, GoldenLoss.arbitrary 2. shape

let private value lambda ((s, a): int64[] * float[]) (b: float[]) =
    use scope = torch.NewDisposeScope()
    BarlowTwinsLoss.Loss(tensor s a, tensor s b, lambda).item<float>()

[<Tests>]
let tests =
    testList
        "barlow twins"
        [
            testList "golden" golden

            test "it equals loops from the paper, whether the batch or the embedding is longer" {
                for n, d in [ 2L, 1L; 3L, 4L; 3L, 17L; 4L, 9L; 12L, 5L; 4L, 8L ] do
                    for lambda in [ 0.; 0.005; 1. ] do
                        let (s, a), (_, b) = pair [ n; d ]
                        let rows = Array.chunkBySize (int d)
                        let expected = naive lambda (rows a) (rows b)
                        let got = value lambda (s, a) b

                        Expect.isTrue
                            (Golden.close 1e-9 1e-10 expected got)
                            $"{n} × {d}, λ {lambda}: {expected} against {got}"
            }

            test "gradients equal finite differences" {
                for shape in [ [ 5L; 3L ]; [ 3L; 8L ] ] do
                    for deviation in [ BarlowDeviation.Biased; BarlowDeviation.Unbiased ] do
                        let a, b = pair shape

                        GoldenLoss.finiteDifferences [ a; b ] (fun t ->
                            BarlowTwinsLoss.Loss(t[0], t[1], 0.3, 0.5, deviation))
            }

            test "it sees neither order, nor which view came first, nor scale and shift of a dimension" {
                let (s, a), (_, b) = pair [ 6L; 4L ]
                let expected = value 0.1 (s, a) b
                Expect.floatClose Accuracy.high (value 0.1 (s, b) a) expected "views"

                let order (z: float[]) =
                    Array.chunkBySize 4 z |> Array.permute (fun i -> (i + 2) % 6) |> Array.concat

                Expect.floatClose Accuracy.high (value 0.1 (s, order a) (order b)) expected "order"
                let moved = a |> Array.mapi (fun i x -> float (i % 4 + 1) * 1e3 * x + float (i % 4))
                Expect.isTrue (Golden.close 1e-3 0. expected (value 0.1 (s, moved) b)) "scale and shift, up to ε"
            }

            test "its chance level is the mean over all pairings of images" {
                let n, d, lambda, scale = 4, 3, 0.2, 0.7
                let s, a = GoldenLoss.arbitrary 1. [ int64 n; int64 d ]
                let _, b = GoldenLoss.arbitrary 2. [ int64 n; int64 d ]
                let rows = Array.chunkBySize d (Array.map (fun x -> 1000. * x) b)

                let rec orders (items: int list) =
                    match items with
                    | [] -> [ [] ]
                    | _ ->
                        [
                            for i in items do
                                for rest in orders (List.except [ i ] items) -> i :: rest
                        ]

                let mean =
                    orders [ 0 .. n - 1 ]
                    |> List.averageBy (fun order ->
                        scale
                        * value
                            lambda
                            (s, Array.map (fun x -> 1000. * x) a)
                            (Array.concat [| for i in order -> rows[i] |]))

                Expect.floatClose Accuracy.medium (BarlowTwinsLoss.Chance(n, d, lambda, scale)) mean "chance"
            }

            test "equal embeddings cost d, with finite gradients" {
                for deviation in [ BarlowDeviation.Biased; BarlowDeviation.Unbiased ] do
                    for fill in [ 0.3; 0. ] do
                        let got =
                            GoldenLoss.atCollapse fill [ [| 6L; 5L |]; [| 6L; 5L |] ] (fun t ->
                                BarlowTwinsLoss.Loss(t[0], t[1], 0.005, 0.1, deviation))

                        Expect.floatClose Accuracy.medium got (BarlowTwinsLoss.Collapsed(5, 0.1)) $"all {fill}"
            }

            test "other shapes and numbers are refused with a clear message" {
                let z () = torch.zeros (4L, 3L)

                Expect.stringContains
                    (GoldenLoss.refusal (fun () ->
                        BarlowTwinsLoss.Loss(torch.zeros (1L, 3L), torch.zeros (1L, 3L), 0.1)))
                    "N ≥ 2, received (1, 3)"
                    "one image"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> BarlowTwinsLoss.Loss(z (), torch.zeros (4L, 2L), 0.1)))
                    "(4, 3) and (4, 2)"
                    "widths"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> BarlowTwinsLoss.Loss(z (), z (), -1.)))
                    "received λ -1"
                    "λ"
            }

            test "nothing is left behind" {
                GoldenLoss.leavesNothing (fun () ->
                    use z = torch.rand (8L, 4L)
                    BarlowTwinsLoss.Loss(z, z, 0.005))
            }
        ]

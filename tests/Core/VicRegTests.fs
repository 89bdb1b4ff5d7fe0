module Tests.Core.VicRegTests

open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Networks

let private original (invariance, variance, covariance) =
    VicRegTerms(invariance, variance, covariance, true, VicRegCovariance.OverDimensions)

let private forms =
    [
        for halved in [ true; false ] do
            for scale in
                [
                    VicRegCovariance.OverDimensions
                    VicRegCovariance.OverDimensionsHalved
                    VicRegCovariance.Mean
                ] do
                VicRegTerms(3., 2., 0.7, halved, scale)
    ]

/// The terms of the paper, loop by loop.
let private naive (terms: VicRegTerms) (a: float[][]) (b: float[][]) =
    let n, d = a.Length, a[0].Length

    let covariance (z: float[][]) i j =
        let mean k =
            z |> Array.averageBy (fun row -> row[k])

        let mi, mj = mean i, mean j
        (z |> Array.sumBy (fun row -> (row[i] - mi) * (row[j] - mj))) / float (n - 1)

    let hinge z =
        Array.average [| for i in 0 .. d - 1 -> max 0. (1. - sqrt (covariance z i i + 1e-4)) |]

    let off z =
        Seq.sum
            [
                for i in 0 .. d - 1 do
                    for j in 0 .. d - 1 do
                        if i <> j then
                            covariance z i j ** 2.
            ]

    let invariance =
        Array.average
            [|
                for i in 0 .. n - 1 do
                    for j in 0 .. d - 1 -> (a[i][j] - b[i][j]) ** 2.
            |]

    let places =
        match terms.CovarianceScale with
        | VicRegCovariance.OverDimensions -> float d
        | VicRegCovariance.OverDimensionsHalved -> 2. * float d
        | _ -> max 1. (float (d * d - d))

    terms.Invariance * invariance
    + terms.Variance
      * (hinge a + hinge b)
      * (if terms.HalvedVariance then 0.5 else 1.)
    + terms.Covariance * (off a + off b) / places

let private golden =
    let weights (c: GoldenLoss.Case) (names: string list) = names |> List.map c.Number

    let entry id names halved scale =
        GoldenLoss.tests id (fun c ->
            let w = weights c names
            VicRegLoss.Loss(c.Input "A", c.Input "B", VicRegTerms(w[0], w[1], w[2], halved, scale)))

    let lightly = [ "lambda_param"; "mu_param"; "nu_param" ]

    [
        for size in [ "small"; "rich" ] do
            yield! entry $"vicreg.{size}" [ "sim_coeff"; "std_coeff"; "cov_coeff" ] true VicRegCovariance.OverDimensions

            yield! entry $"vicreg_lightly.{size}" lightly true VicRegCovariance.OverDimensions

            yield!
                entry
                    $"vicreg_solo.{size}"
                    [ "sim_loss_weight"; "var_loss_weight"; "cov_loss_weight" ]
                    false
                    VicRegCovariance.OverDimensions

            yield! entry $"vicregl_global.{size}" lightly true VicRegCovariance.OverDimensionsHalved

            yield!
                GoldenLoss.tests $"vicreg_ebjepa.{size}" (fun c ->
                    VicRegLoss.Loss(
                        c.Input "A",
                        c.Input "B",
                        VicRegTerms(1., c.Number "std_coeff", c.Number "cov_coeff", false, VicRegCovariance.Mean)
                    ))
    ]

let private pair (shape: int64 list) =
    GoldenLoss.arbitrary 1. shape, GoldenLoss.arbitrary 2. shape

let private value terms ((s, a): int64[] * float[]) (b: float[]) =
    use scope = torch.NewDisposeScope()
    VicRegLoss.Loss(tensor s a, tensor s b, terms).item<float>()

/// Independent normal values of one deviation.
let private normal lane deviation count =
    let mutable random = Philox(1UL, RandomPurpose.Evaluation, 0u, lane)
    Array.init count (fun _ -> deviation * random.NextGaussian())

[<Tests>]
let tests =
    testList
        "vicreg"
        [
            testList "golden" golden

            test "every form equals loops from the paper, whether the batch or the embedding is longer" {
                for n, d in [ 2L, 1L; 3L, 7L; 9L, 4L; 5L, 5L ] do
                    for terms in forms do
                        let (s, a), (_, b) = pair [ n; d ]
                        let rows = Array.chunkBySize (int d)
                        let expected = naive terms (rows a) (rows b)
                        let got = value terms (s, a) b

                        Expect.isTrue
                            (Golden.close 1e-9 1e-10 expected got)
                            $"{n} × {d}, {terms}: {expected} against {got}"
            }

            test "gradients equal finite differences" {
                for shape in [ [ 5L; 3L ]; [ 3L; 6L ] ] do
                    let a, b = pair shape
                    GoldenLoss.finiteDifferences [ a; b ] (fun t -> VicRegLoss.Loss(t[0], t[1], original (3., 2., 0.7)))
            }

            test "it sees neither order, nor which view came first, nor a common shift" {
                let (s, a), (_, b) = pair [ 6L; 4L ]
                let terms = original (3., 2., 0.7)
                let expected = value terms (s, a) b
                Expect.floatClose Accuracy.high (value terms (s, b) a) expected "views"

                let order (z: float[]) =
                    Array.chunkBySize 4 z |> Array.permute (fun i -> (i + 2) % 6) |> Array.concat

                Expect.floatClose Accuracy.high (value terms (s, order a) (order b)) expected "order"
                let moved = Array.map (fun x -> x + 5.)
                Expect.floatClose Accuracy.high (value terms (s, moved a) (moved b)) expected "shift"
            }

            test "equal embeddings cost both hinges, with finite gradients, unless variance has no weight" {
                for terms in forms do
                    for fill in [ 0.3; 0. ] do
                        let got =
                            GoldenLoss.atCollapse fill [ [| 6L; 5L |]; [| 6L; 5L |] ] (fun t ->
                                VicRegLoss.Loss(t[0], t[1], terms))

                        Expect.floatClose Accuracy.medium got (VicRegLoss.Collapsed terms) $"{terms}, all {fill}"

                Expect.equal (VicRegLoss.Collapsed(original (25., 0., 1.))) 0. "without variance, collapse is best"
            }

            test "unrelated views reach the chance level at the best deviation, and not less at others" {
                let n, d = 3000, 4
                let terms = original (25., 25., 1.)

                let at deviation =
                    value terms ([| int64 n; int64 d |], normal 1u deviation (n * d)) (normal 2u deviation (n * d))

                let chance = VicRegLoss.Chance terms
                Expect.floatClose Accuracy.high chance 21.875 "25·2·s² + 25·(1 − s) at s = 1/4"
                Expect.isLessThan (abs (at 0.25 - chance) / chance) 0.01 "at the best deviation"

                for deviation in [ 0.01; 0.1; 0.15; 0.4; 0.7; 1.; 1.5 ] do
                    Expect.isGreaterThan (at deviation) (0.99 * chance) $"at {deviation}"
            }

            test "other shapes and weights are refused with a clear message" {
                let z () = torch.zeros (4L, 3L)
                let terms = original (1., 1., 1.)

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> VicRegLoss.Loss(torch.zeros (1L, 3L), torch.zeros (1L, 3L), terms)))
                    "N ≥ 2, received (1, 3)"
                    "one image"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> VicRegLoss.Loss(z (), torch.zeros (4L, 2L), terms)))
                    "(4, 3) and (4, 2)"
                    "widths"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> VicRegLoss.Loss(z (), z (), original (1., -2., 1.))))
                    "variance -2"
                    "weight"
            }

            test "nothing is left behind" {
                GoldenLoss.leavesNothing (fun () ->
                    use z = torch.rand (8L, 4L)
                    VicRegLoss.Loss(z, z, original (25., 25., 1.)))
            }
        ]

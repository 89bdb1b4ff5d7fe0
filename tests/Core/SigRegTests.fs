module Tests.Core.SigRegTests

open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Networks

/// The statistic of one set of numbers, loop by loop over the whole line from -T to T.
let private naive knots limit (x: float[]) =
    let step = limit / float (knots - 1)
    let n = float x.Length

    let density t =
        let real = Array.averageBy (fun v -> cos (t * v)) x
        let imaginary = Array.averageBy (fun v -> sin (t * v)) x
        let target = exp (-t * t / 2.)
        ((real - target) ** 2. + imaginary ** 2.) * target

    n
    * Seq.sum
        [
            for k in -(knots - 1) .. knots - 2 ->
                step * 0.5 * (density (float k * step) + density (float (k + 1) * step))
        ]

let private directions (c: GoldenLoss.Case) =
    let raw = c.Input("dirs").detach()
    torch.nn.functional.normalize (raw, 2., 0L)

let private knots (c: GoldenLoss.Case) = int (c.Number "knots")

let private golden =
    [
        yield!
            GoldenLoss.tests "sigreg.k17.tmax3" (fun c ->
                SigReg.Loss(c.Input "Z", directions c, knots c, c.Number "t_max"))

        yield!
            GoldenLoss.tests "epps_pulley.k17.tmax3" (fun c ->
                SigReg.Loss(c.Input "Z", directions c, int (c.Number "n_points"), c.Number "t_max"))

        yield!
            GoldenLoss.tests "lejepa.k17.tmax3" (fun c ->
                let views = torch.cat ([| c.Input "G"; c.Input "Lc" |], 0L)

                LeJepaLoss.Loss(views, 2, directions c, c.Number "lambda_param", knots c, c.Number "t_max"))

        test "golden epps_pulley.k17.tmax3: each slice" {
            GoldenLoss.read "epps_pulley.k17.tmax3" (fun c expected ->
                let got =
                    doubles (SigReg.Statistics(c.Input "Z", directions c, int (c.Number "n_points"), c.Number "t_max"))

                Golden.floats (expected.GetProperty "per_slice")
                |> Array.iteri (fun i want -> GoldenLoss.agrees c $"slice {i}" want got[i]))
        }
    ]

let private unit seed d slices =
    torch.nn.functional.normalize (GoldenLoss.arbitrary seed [ d; slices ] ||> tensor, 2., 0L)

let private normal (shape: int64[]) (deviation: float) =
    let mutable random = Philox(1UL, RandomPurpose.Evaluation, 0u, 3u)
    tensor shape (Array.init (int (Array.reduce (*) shape)) (fun _ -> deviation * random.NextGaussian()))

[<Tests>]
let tests =
    testList
        "sigreg"
        [
            testList "golden" golden

            test "it equals the integral over the whole line, slice by slice" {
                for n, d, slices, knots, limit in [ 1L, 1L, 1L, 2, 1.; 5L, 3L, 4L, 17, 3.; 8L, 2L, 3L, 9, 5. ] do
                    use scope = torch.NewDisposeScope()
                    let s, values = GoldenLoss.arbitrary 1. [ n; d ]
                    let z = tensor s values
                    let u = unit 2. d slices
                    let x = doubles (z.mm(u).t()) |> Array.chunkBySize (int n)
                    let got = doubles (SigReg.Statistics(z, u, knots, limit))

                    x
                    |> Array.iteri (fun i slice ->
                        let want = naive knots limit slice
                        Expect.isTrue (Golden.close 1e-9 1e-11 want got[i]) $"slice {i}: {want} against {got[i]}")
            }

            test "float32 on the CPU, whose kernel works on vectors of directions, agrees with float64" {
                for views, n, d, slices, knots in
                    [
                        1L, 1L, 1L, 1L, 2
                        2L, 5L, 3L, 16L, 17
                        3L, 7L, 4L, 21L, 9
                        2L, 64L, 8L, 40L, 17
                    ] do
                    use scope = torch.NewDisposeScope()
                    let shape, values = GoldenLoss.arbitrary 1. [ views; n; d ]

                    let run (dtype: torch.ScalarType) =
                        let z = (tensor shape values).``to``(dtype).requires_grad_()
                        let statistics = SigReg.Statistics(z, (unit 2. d slices).``to`` dtype, knots, 3.)
                        let weights = torch.arange(slices, dtype = dtype).add((1.).ToScalar())
                        (statistics * weights).sum().backward()
                        doubles statistics, doubles z.grad

                    let value, gradient = run torch.float64
                    let got, gotGradient = run torch.float32
                    let norm = gradient |> Array.sumBy (fun x -> x * x) |> sqrt

                    Array.iteri2
                        (fun i want x -> Expect.isTrue (Golden.close 1e-4 1e-5 want x) $"slice {i}: {want} against {x}")
                        value
                        got

                    Array.iter2
                        (fun want x ->
                            Expect.isTrue (Golden.close 0. (1e-5 * norm + 1e-6) want x) $"gradient: {want} against {x}")
                        gradient
                        gotGradient
            }

            test "gradients equal finite differences, of one view and of several" {
                for shape in [ [ 5L; 3L ]; [ 2L; 4L; 3L ] ] do
                    use scope = torch.NewDisposeScope()
                    let u = unit 2. 3L 4L

                    GoldenLoss.finiteDifferences [ GoldenLoss.arbitrary 1. shape ] (fun t ->
                        SigReg.Loss(t[0], u, 7, 3.))

                use scope = torch.NewDisposeScope()
                let u = unit 2. 3L 4L

                GoldenLoss.finiteDifferences [ GoldenLoss.arbitrary 1. [ 3L; 4L; 3L ] ] (fun t ->
                    LeJepaLoss.Loss(t[0], 2, u, 0.3, 7, 3.))
            }

            test "of several views it is the mean over the views" {
                use scope = torch.NewDisposeScope()
                let s, values = GoldenLoss.arbitrary 1. [ 3L; 6L; 4L ]
                let z = tensor s values
                let u = unit 2. 4L 5L
                let each = [ for v in 0L .. 2L -> SigReg.Loss(z[v], u, 17, 3.).item<float>() ]
                Expect.floatClose Accuracy.high (SigReg.Loss(z, u, 17, 3.).item<float>()) (List.average each) "mean"
            }

            test "it sees no order of images and no sign; views swap in LeJEPA's loss" {
                use scope = torch.NewDisposeScope()
                let s, values = GoldenLoss.arbitrary 1. [ 2L; 6L; 4L ]
                let z = tensor s values
                let u = unit 2. 4L 5L

                let value (t: torch.Tensor) =
                    LeJepaLoss.Loss(t, 2, u, 0.3, 17, 3.).item<float>()

                let expected = value z
                Expect.floatClose Accuracy.high (value (z.flip [| 0L |])) expected "views"
                Expect.floatClose Accuracy.high (value (z.flip [| 1L |])) expected "order"
                Expect.floatClose Accuracy.high (value (z.neg ())) expected "sign"
            }

            test "normal embeddings cost what is expected of their deviation" {
                use scope = torch.NewDisposeScope()
                let u = torch.ones (1L, 1L, dtype = torch.float64)

                for deviation in [ 1.; 0.5; 2. ] do
                    let got = SigReg.Loss(normal [| 2000L; 32L; 1L |] deviation, u, 17, 3.).item<float>()
                    let want = SigReg.Expected(32, deviation, 17, 3.)
                    Expect.isLessThan (abs (got - want) / want) 0.05 $"deviation {deviation}: {want} against {got}"
            }

            test "equal embeddings have finite gradients; zeros cost the collapsed level, others more" {
                use scope = torch.NewDisposeScope()
                let u = unit 2. 3L 4L

                let at fill =
                    GoldenLoss.atCollapse fill [ [| 2L; 6L; 3L |] ] (fun t ->
                        LeJepaLoss.Loss(t[0], 2, u.``to`` t[0].dtype, 0.3, 17, 3.))

                let level = LeJepaLoss.Collapsed(6, 0.3, 17, 3.)
                Expect.floatClose Accuracy.medium (at 0.) level "zeros"
                Expect.isGreaterThan (at 0.4) level "others"
            }

            test "unrelated views reach LeJEPA's chance level at the best deviation, and not less at others" {
                use scope = torch.NewDisposeScope()
                let n, d, lambda = 64L, 8L, 0.05
                let u = unit 2. d 16L
                let chance = LeJepaLoss.Chance(int n, lambda, 17, 3.)

                let at (deviation: float) =
                    List.average
                        [
                            for i in 0L .. 19L ->
                                let z = normal [| 40L; n; d |] deviation
                                LeJepaLoss.Loss(z.narrow (0L, 2L * i, 2L), 2, u, lambda, 17, 3.).item<float>()
                        ]

                let values = [ for i in 1..15 -> at (float i / 10.) ]
                Expect.isGreaterThan (List.min values) (0.95 * chance) "not less"
                Expect.isLessThan (List.min values) (1.1 * chance) "reached"
            }

            test "other shapes and numbers are refused with a clear message" {
                let z () = torch.zeros (4L, 3L)
                let u () = torch.zeros (3L, 2L)

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> SigReg.Loss(z (), torch.zeros (2L, 2L), 17, 3.)))
                    "received (4, 3) and (2, 2)"
                    "directions"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> SigReg.Loss(z (), u (), 1, 3.)))
                    "received 1 up to 3"
                    "knots"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> LeJepaLoss.Loss(z (), 2, u (), 0.1, 17, 3.)))
                    "received (4, 3)"
                    "views"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> LeJepaLoss.Loss(torch.zeros (2L, 4L, 3L), 2, u (), 1.5, 17, 3.)))
                    "received 1.5"
                    "λ"
            }

            test "nothing is left behind" {
                GoldenLoss.leavesNothing (fun () ->
                    use z = torch.rand (2L, 8L, 4L)
                    use u = torch.rand (4L, 3L)
                    LeJepaLoss.Loss(z, 2, u, 0.05, 17, 3.))
            }
        ]

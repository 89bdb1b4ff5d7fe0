module Tests.Core.EvaluationProbeTests

open System
open System.Threading
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Evaluation
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Features

let private probe =
    let options epochs grid =
        LinearProbeOptions(epochs, grid, 0.2, 3UL)

    [
        test "the solver reaches the minimum of a quadratic in closed form" {
            let scales = [| 1.; 10.; 100.; 3. |]
            let minimum = [| 0.5; -2.; 3.; 7. |]
            let point = Array.zeroCreate 4

            let objective =
                Objective(fun x g ->
                    let mutable f = 0.

                    for i in 0..3 do
                        let d = x[i] - minimum[i]
                        f <- f + 0.5 * scales[i] * d * d
                        g[i] <- scales[i] * d

                    f)

            let struct (value, iterations) = Lbfgs.Minimise(objective, point, 100, 1e-9, 0., CancellationToken.None)
            Expect.isLessThan value 1e-15 "value"
            Expect.isLessThan iterations 40 "iterations"
            Array.iter2 (fun a b -> Expect.floatClose Accuracy.medium a b "coordinate") point minimum
        }

        test "the solver crosses the Rosenbrock valley" {
            let point = [| -1.2; 1. |]

            let objective =
                Objective(fun x g ->
                    let a, b = 1. - x[0], x[1] - x[0] * x[0]
                    g[0] <- -2. * a - 400. * x[0] * b
                    g[1] <- 200. * b
                    a * a + 100. * b * b)

            Lbfgs.Minimise(objective, point, 200, 1e-8, 0., CancellationToken.None)
            |> ignore

            Expect.floatClose Accuracy.medium point[0] 1. "x"
            Expect.floatClose Accuracy.medium point[1] 1. "y"
        }

        test "loss and gradient equal loops in double precision, over several chunks" {
            let width, count, classes, l2 = 300, 9000, 3, 0.01
            let features, labels = blobs 2UL classes count width 0.1
            use scope = torch.NewDisposeScope()
            use train = bank width features labels
            use loss = new LogisticLoss(train.Features, train.Labels, classes)
            let point = Array.init loss.Size (fun i -> 0.05 * sin (float i))
            let gradient = Array.zeroCreate loss.Size
            let value = loss.Evaluate(ReadOnlySpan point, Span gradient, l2)
            let expectedGradient = Array.zeroCreate<float> loss.Size
            let mutable expected = 0.

            for i in 0 .. count - 1 do
                let scores =
                    Array.init classes (fun c ->
                        let mutable s = point[width * classes + c]

                        for j in 0 .. width - 1 do
                            s <- s + features[i * width + j] * point[j * classes + c]

                        s)

                let total = scores |> Array.sumBy exp

                for c in 0 .. classes - 1 do
                    let residual = exp scores[c] / total - (if int64 c = labels[i] then 1. else 0.)

                    expectedGradient[width * classes + c] <-
                        expectedGradient[width * classes + c] + residual / float count

                    for j in 0 .. width - 1 do
                        let k = j * classes + c
                        expectedGradient[k] <- expectedGradient[k] + features[i * width + j] * residual / float count

                expected <- expected + (log total - scores[int labels[i]]) / float count

            for k in 0 .. width * classes - 1 do
                expected <- expected + 0.5 * l2 * point[k] * point[k]
                expectedGradient[k] <- expectedGradient[k] + l2 * point[k]

            Expect.isTrue (Golden.close 1e-6 0. expected value) $"{expected} against {value}"

            Array.iteri2
                (fun i e g -> Expect.isTrue (Golden.close 1e-5 1e-6 e g) $"gradient {i}: {e} against {g}")
                expectedGradient
                gradient
        }

        test "a fit equals plain gradient descent and has no gradient left" {
            let width, count, classes, l2 = 4, 200, 3, 0.05
            let features, labels = blobs 9UL classes count width 0.7
            use train = bank width features labels
            use loss = new LogisticLoss(train.Features, train.Labels, classes)
            let fitted = Array.zeroCreate loss.Size

            let evaluate (x: float[]) (g: float[]) =
                loss.Evaluate(ReadOnlySpan x, Span g, l2)

            let objective = Objective(fun x g -> loss.Evaluate(x, g, l2))

            Lbfgs.Minimise(objective, fitted, 200, 1e-6, 0., CancellationToken.None)
            |> ignore

            let gradient = Array.zeroCreate loss.Size
            let value = evaluate fitted gradient
            Expect.isLessThan (gradient |> Array.map abs |> Array.max) 2e-5 "gradient at the optimum"
            let x, g = Array.zeroCreate loss.Size, Array.zeroCreate loss.Size
            let mutable plain = 0.

            for _ in 1..2000 do
                plain <- evaluate x g

                for i in 0 .. x.Length - 1 do
                    x[i] <- x[i] - 0.3 * g[i]

            Expect.isLessThan (abs (plain - value)) 1e-6 $"value {value} against {plain} by gradient descent"
            Array.iter2 (fun a b -> Expect.isLessThan (abs (a - b)) 2e-3 "parameter") x fitted
        }

        test "scores what can be separated, and does not depend on the scale of features" {
            let features, labels = blobs 1UL 4 1200 6 2.

            let score (features: float[]) =
                use train = part 0 900 6 (features, labels)
                use test = part 900 300 6 (features, labels)
                LinearProbe.Evaluate(train, test, options 200 [ 1e-4; 1e-2; 1. ])

            let result = score features
            Expect.isGreaterThan result.Accuracy 90. "accuracy"
            Expect.isGreaterThan result.HeldOutAccuracy 90. "held-out accuracy"

            let scaled =
                score (
                    features
                    |> Array.mapi (fun i x -> x * (10. ** float (i % 6 - 3)) + float (i % 6))
                )

            Expect.equal scaled.L2 result.L2 "same penalty"
            Expect.isLessThan (abs (scaled.Accuracy - result.Accuracy)) 0.5 "same accuracy"
            Expect.equal (score features) result "same again"
        }

        test "chooses the penalty that generalises, without looking at the test split" {
            // 40 columns of noise and few images: without a penalty the fit follows the noise.
            let features, labels = blobs 12UL 2 2060 40 0.12
            use train = part 0 60 40 (features, labels)
            use test = part 60 2000 40 (features, labels)
            use silent = bank 40 features[60 * 40 .. 61 * 40 - 1] [| 1L - labels[60] |]
            let grid = [ 1e-6; 1.; 1e5 ]
            let chosen = LinearProbe.Evaluate(train, test, options 200 grid)
            Expect.isTrue (List.contains chosen.L2 grid) "one of the grid"

            Expect.equal
                (LinearProbe.Evaluate(train, silent, options 200 grid)).L2
                chosen.L2
                "another test split, the same choice"

            let alone l2 =
                LinearProbe.Evaluate(train, test, LinearProbeOptions(200, [ l2 ], 0., 3UL))

            Expect.equal (alone chosen.L2).Accuracy chosen.Accuracy "refitted on the whole training split"
            Expect.isNaN (alone 1.).HeldOutAccuracy "nothing held out"
        }

        test "constant columns and single-image classes do no harm" {
            let features, labels = blobs 3UL 2 100 2 3.
            let labels = labels |> Array.mapi (fun i l -> if i = 0 then 2L else l)

            let score width features =
                use train = bank width features labels
                LinearProbe.Evaluate(train, train, options 100 [ 1e-3; 1e-2 ])

            let with1000 =
                features
                |> Array.chunkBySize 2
                |> Array.collect (fun row -> [| row[0]; 1000.; row[1] |])

            Expect.equal (score 3 with1000) (score 2 features) "as without that column"
            Expect.isGreaterThan (score 2 features).Accuracy 80. "accuracy"
        }

        test "refuses impossible options" {
            use train = bank 1 [| 1.; 2.; 3. |] [| 0L; 1L; 1L |]
            use one = bank 1 [| 1.; 2. |] [| 1L; 1L |]

            let refused (o: LinearProbeOptions) (t: FeatureBank) =
                Expect.throwsT<ArgumentException>(fun () -> LinearProbe.Evaluate(t, train, o) |> ignore)

            refused (options 0 [ 1. ]) train "epochs"
            refused (options 1 []) train "empty grid"
            refused (options 1 [ -1. ]) train "penalty"
            refused (LinearProbeOptions(1, [ 1.; 2. ], 0., 0UL)) train "nothing to choose by"
            refused (options 1 [ 1. ]) one "one class"
        }
    ]

let private leaks =
    test "k-NN and probe leave no tensors behind" {
        let features, labels = blobs 1UL 3 60 4 1.
        use train = part 0 60 4 (features, labels)

        let once () =
            KnnClassifier.Accuracy(train, train, 5, Nullable 0.1) |> ignore

            LinearProbe.Evaluate(train, train, LinearProbeOptions(20, [ 1e-3; 1e-2 ], 0.2, 0UL))
            |> ignore

        once ()
        let before = Tests.Support.LiveTensors.settled ()

        for _ in 1..3 do
            once ()

        Expect.equal torch.Tensor.TotalCount before "live tensors"
    }

[<Tests>]
let tests = testList "evaluation.probe" (leaks :: probe)

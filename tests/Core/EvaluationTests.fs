module Tests.Core.EvaluationTests

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

let private bank (width: int) (features: float[]) (labels: int64[]) =
    new FeatureBank(
        torch.tensor(features |> Array.map float32, dtype = torch.float32).reshape(int64 labels.Length, int64 width),
        torch.tensor (labels, dtype = torch.int64)
    )

/// Classes around their own centres, with standard normal noise.
let private blobs seed (classes: int) (count: int) width spread =
    let mutable random = Philox(seed, RandomPurpose.Evaluation)
    let centres = Array.init (classes * width) (fun _ -> spread * random.NextGaussian())
    let mutable random = Philox(seed, RandomPurpose.Evaluation, 1u)
    let labels = Array.init count (fun i -> int64 (i % classes))

    let features =
        Array.init (count * width) (fun i -> centres[int labels[i / width] * width + i % width] + random.NextGaussian())

    features, labels

let private part first length width (features: float[], labels: int64[]) =
    bank width features[first * width .. (first + length) * width - 1] labels[first .. first + length - 1]

let private float32s (t: torch.Tensor) =
    t.contiguous().data<float32>().ToArray()

/// k nearest by cosine, sorted out in full.
let private naiveKnn width (train: float[], labels: int64[]) (test: float[]) k temperature =
    let unit (v: float[]) =
        let length = sqrt (Array.sumBy (fun x -> x * x) v)
        Array.map (fun x -> x / length) v

    let rows = train |> Array.chunkBySize width |> Array.map unit

    [|
        for q in test |> Array.chunkBySize width |> Array.map unit ->
            rows
            |> Array.mapi (fun i r -> -(Array.fold2 (fun s a b -> s + a * b) 0. q r), i)
            |> Array.sort
            |> Array.take k
            |> Array.groupBy (fun (_, i) -> labels[i])
            |> Array.map (fun (label, members) ->
                let weight (s, _) =
                    match temperature with
                    | Some t -> exp (-s / t)
                    | None -> 1.

                -(Array.sumBy weight members), label)
            |> Array.min
            |> snd
    |]

let private knn =
    [
        for id in [ "knn.k20.t0.07"; "knn.k5.t0.1" ] do
            test $"golden {id}" {
                let e = Golden.entry "losses" id

                let labels name =
                    Golden.input name e |> snd |> Array.map int64

                let features name = Golden.input name e |> snd
                use train = bank 8 (features "train") (labels "ytrain")
                use test = bank 8 (features "test") (labels "ytest")
                let k = e.GetProperty("params").GetProperty("k").GetInt32()
                let t = Nullable(e.GetProperty("params").GetProperty("T").GetDouble())
                let expected = e.GetProperty "expected"

                let predicted (name: string) =
                    Golden.ints (expected.GetProperty name) |> Array.map int64

                Expect.equal (KnnClassifier.Predict(train, test, k, t)) (predicted "predicted_top1") "weighted"

                Expect.equal
                    (KnnClassifier.Predict(train, test, k, Nullable()))
                    (predicted "majority_vote_top1")
                    "majority"

                let percent (name: string) = expected.GetProperty(name).GetDouble()

                Expect.floatClose
                    Accuracy.high
                    (KnnClassifier.Accuracy(train, test, k, t))
                    (percent "top1_accuracy_percent")
                    "weighted accuracy"

                Expect.floatClose
                    Accuracy.high
                    (KnnClassifier.Accuracy(train, test, k, Nullable()))
                    (percent "majority_vote_accuracy_percent")
                    "majority accuracy"
            }

        test "equals sorting in full, over several tiles" {
            let width, count, queries = 3, 17000, 40
            let features, labels = blobs 4UL 7 (count + queries) width 1.5
            use train = part 0 count width (features, labels)
            use test = part count queries width (features, labels)
            let trainValues = features[.. count * width - 1], labels
            let testValues = features[count * width ..]

            for k in [ 1; 2; 20; 200 ] do
                for temperature in [ Some 0.1; None ] do
                    let expected = naiveKnn width trainValues testValues k temperature
                    let got = KnnClassifier.Predict(train, test, k, Option.toNullable temperature)
                    // float32 similarities may order near ties at the k-th place differently.
                    let same = Array.map2 (=) expected got |> Array.filter id |> Array.length
                    Expect.isGreaterThanOrEqual same (queries - 1) $"k {k}, T {temperature}"
        }

        test "more test rows than one tile" {
            let features, labels = blobs 6UL 3 1500 4 4.
            use train = part 0 300 4 (features, labels)
            use all = part 0 1500 4 (features, labels)
            let predicted = KnnClassifier.Predict(train, all, 1, Nullable())
            Expect.equal predicted[..299] labels[..299] "each training row is its own neighbour"
            Expect.isGreaterThan (KnnClassifier.Accuracy(train, all, 5, Nullable 0.1)) 90. "separable"
        }

        test "a small temperature does not overflow" {
            let features, labels = blobs 8UL 3 60 4 4.
            use train = part 0 60 4 (features, labels)
            Expect.equal (KnnClassifier.Predict(train, train, 10, Nullable 1e-4)) labels "the nearest decides"
        }

        test "refuses impossible options" {
            use train = bank 1 [| 1.; 2. |] [| 0L; 1L |]
            use unlabelled = bank 1 [| 1.; 2. |] [| 0L; -1L |]
            use wide = bank 2 [| 1.; 2. |] [| 0L |]

            let refused f =
                Expect.throwsT<ArgumentException>(fun () -> f () |> ignore)

            refused (fun () -> KnnClassifier.Predict(train, train, 3, Nullable())) "k above the bank"
            refused (fun () -> KnnClassifier.Predict(train, train, 0, Nullable())) "k 0"
            refused (fun () -> KnnClassifier.Predict(train, train, 1, Nullable 0.)) "T 0"
            refused (fun () -> KnnClassifier.Predict(train, wide, 1, Nullable())) "widths"
            refused (fun () -> KnnClassifier.Predict(unlabelled, train, 1, Nullable())) "no label"
            Expect.throwsT<ArgumentException> (fun () -> (bank 1 [| nan |] [| 0L |]).Dispose()) "not finite"
        }
    ]

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
            Expect.isLessThan (gradient |> Array.map abs |> Array.max) 1e-5 "gradient at the optimum"
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

let private extraction =
    let shape = ImageShape(8, 6, 3)
    let pixels = Array.init (5 * shape.Bytes) (fun i -> byte ((i * 37 + i / 11) % 256))

    let store () =
        ImageStore.FromMemory("small", shape, pixels, [| 0; 1; -1; 0; 1 |], [ "a"; "b" ], "train")

    let normalisation = ChannelNormalisation([ 0.5f; 0.4f; 0.3f ], [ 0.2f; 0.3f; 0.4f ])

    let extract encoder layer projector batch =
        use store = store ()

        FeatureExtractor.Extract(
            encoder,
            layer,
            projector,
            store,
            normalisation,
            batch,
            torch.CPU,
            CancellationToken.None
        )

    let encoder () =
        let e = new ResNet(ResNetOptions(ResidualBlock.Basic, [ 1; 1 ], 4, Stem.Cifar, 3))
        SeededInitialisation.Apply(e, 1UL)
        e

    [
        test "pixels are normalised, in (channel, row, column) order" {
            use bank = extract null Backbone.Output null 2
            Expect.equal bank.Features.shape [| 5L; int64 shape.Bytes |] "shape"
            let got = float32s bank.Features

            let expected =
                [|
                    for n in 0..4 do
                        for c in 0..2 do
                            for p in 0 .. 8 * 6 - 1 do
                                (float pixels[n * shape.Bytes + p * 3 + c] / 255. - float normalisation.Mean[c])
                                / float normalisation.Std[c]
                |]

            Array.iteri2
                (fun i (e: float) (g: float32) -> Expect.isLessThan (abs (e - float g)) 1e-5 $"value {i}")
                expected
                got

            Expect.equal (bank.Labels.data<int64>().ToArray()) [| 0L; 1L; -1L; 0L; 1L |] "labels"
        }

        test "features are those of a pass in evaluation mode, for any batch size, and modes return" {
            use e = encoder ()
            e.train ()
            let frozen = e.named_modules () |> Seq.map (fun struct (_, m) -> m) |> Seq.last
            frozen.eval ()
            use before = torch.get_rng_state ()
            use banks = extract e Backbone.Output null 2
            use after = torch.get_rng_state ()
            Expect.isTrue (torch.equal (before, after) |> fun (t: torch.Tensor) -> t.all().item<bool>()) "generator"
            Expect.isTrue e.training "the encoder trains again"
            Expect.isFalse frozen.training "what was frozen stays frozen"
            use raw = extract null Backbone.Output null 5
            e.eval ()
            use _ = torch.no_grad ()
            use expected = e.call (raw.Features.reshape (5L, 3L, 8L, 6L))

            Array.iter2
                (fun (a: float32) b -> Expect.isLessThan (abs (a - b)) 1e-5f "feature")
                (float32s expected)
                (float32s banks.Features)

            Expect.isFalse banks.Features.requires_grad "no graph"

            for struct (name, b) in e.named_buffers () do
                if name.EndsWith "num_batches_tracked" then
                    Expect.equal (b.item<int64>()) 0L name
        }

        test "every layer, and z" {
            use e = encoder ()
            use head = ProjectionHead.Create(e.FeatureCount, LinearProjection(3, true))
            SeededInitialisation.Apply(head, 1UL)
            Expect.equal (Seq.toList e.Layers) [ "stem"; "layer1"; "h" ] "layers"

            for layer, width in [ "stem", 4L; "layer1", 4L; "h", 8L ] do
                use bank = extract e layer null 5
                Expect.equal bank.Width width layer

            use z = extract e Backbone.Output head 5
            Expect.equal z.Width 3L "z"
            Expect.throwsT<ArgumentException> (fun () -> extract e "layer9" null 5 |> ignore) "no such layer"
            Expect.throwsT<ArgumentException> (fun () -> extract e "stem" head 5 |> ignore) "z of another layer"
        }

        test "leaves no tensors behind and can be stopped" {
            use e = encoder ()

            let once () =
                (extract e Backbone.Output null 2).Dispose()

            once ()
            let before = torch.Tensor.TotalCount

            for _ in 1..3 do
                once ()

            Expect.equal torch.Tensor.TotalCount before "live tensors"
            use stopped = new CancellationTokenSource()
            stopped.Cancel()
            use store = store ()

            Expect.throwsT<OperationCanceledException>
                (fun () ->
                    FeatureExtractor.Extract(e, "h", null, store, normalisation, 2, torch.CPU, stopped.Token)
                    |> ignore)
                "stopped"
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
        let before = torch.Tensor.TotalCount

        for _ in 1..3 do
            once ()

        Expect.equal torch.Tensor.TotalCount before "live tensors"
    }

[<Tests>]
let tests =
    testList
        "evaluation"
        [
            testList "knn" knn
            testList "probe" probe
            testList "features" extraction
            leaks
        ]

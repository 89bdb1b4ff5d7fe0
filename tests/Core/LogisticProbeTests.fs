/// Logistic regression at its optimum: scikit-learn's values, its gradient, and what must not matter.
module Tests.Core.LogisticProbeTests

open System
open System.Text.Json
open System.Threading
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Evaluation
open SslResearch.Core.Runtime
open Tests.Support
open Tests.Support.Features
open Tests.Support.Networks

let private entries family = Golden.family "protocols" [ family ]

let private whole (e: JsonElement) name =
    Golden.input name e |> snd |> Array.map int64

/// Features of train and test, standardised by train where the entry says so.
let private features (e: JsonElement) =
    let rows name = Golden.input name e ||> tensor
    let train, test = rows "train", rows "test"

    if e.GetProperty("params").GetProperty("standardise").ValueKind = JsonValueKind.Null then
        train, test
    else
        let mean = train.mean [| 0L |]
        let deviation = train.std ([| 0L |], unbiased = false)
        (train.sub mean).div deviation, (test.sub mean).div deviation

/// W (d, classes) and b (classes).
let private parts (d: int) classes (fit: LogisticFit) =
    let w = torch.tensor(fit.Point[.. d * classes - 1]).reshape(int64 d, int64 classes)
    w, torch.tensor fit.Point[d * classes ..]

let private fitOf (rows: torch.Tensor) (labels: int64[]) classes l2 (start: float[]) =
    use targets = torch.tensor (labels, dtype = torch.int64)
    LogisticRegression.Fit(rows, targets, classes, l2, start, CancellationToken.None)

let private golden =
    [
        for e in entries "logreg" do
            test $"golden {Golden.id e}" {
                use scope = torch.NewDisposeScope()
                use frozen = torch.no_grad ()
                let train, test = features e
                let labels, truth = whole e "ytrain", whole e "ytest"

                let number (name: string) =
                    e.GetProperty("params").GetProperty(name).GetDouble()

                let c, classes = number "C", int (number "classes")
                let n = float labels.Length
                // Two classes have one vector there, the difference of ours: half the penalty.
                let l2 = (if classes = 2 then 2. else 1.) / (c * n)
                let fit = fitOf train labels classes l2 null
                Expect.isTrue fit.Converged $"converged: {fit}"
                let w, b = parts (int train.shape[1]) classes fit

                let coefficients, intercept =
                    if classes = 2 then
                        (w.select (1L, 1L)).sub(w.select (1L, 0L)).unsqueeze 0L, (b[1]).sub(b[0]).unsqueeze 0L
                    else
                        w.t (), b.sub (b.mean ())

                let entropy (rows: torch.Tensor) (truth: int64[]) =
                    torch.nn.functional
                        .cross_entropy(rows.mm(w).add b, torch.tensor (truth, dtype = torch.int64))
                        .item<float>()

                let expected = e.GetProperty "expected"
                let bound = Golden.bound e true

                let agrees (name: string) got =
                    Golden.agrees name (bound "rtol") (bound "atol") (expected.GetProperty(name).GetDouble()) got

                let squares = coefficients.square().sum().item<float>()
                agrees "mean_cross_entropy_train" (entropy train labels)
                agrees "mean_cross_entropy_test" (entropy test truth)
                agrees "coef_sumsq" squares
                agrees "objective" (0.5 * squares + c * n * entropy train labels)

                for name, got in
                    [
                        "coef_row0_first4", doubles (coefficients[0])
                        "intercept", doubles intercept
                    ] do
                    Golden.floats (expected.GetProperty name)
                    |> Array.iteri (fun i want -> Golden.agrees name (bound "rtol") (bound "atol") want got[i])

                match Golden.tryProp "predictions_test" expected with
                | Some want ->
                    let got = (test.mm(w).add b).argmax(1L).data<int64>().ToArray()
                    Expect.equal (Array.map int got) (Golden.ints want) "predictions"

                    Expect.equal
                        (Array.zip got truth |> Array.filter (fun (g, t) -> g = t) |> Array.length)
                        (expected.GetProperty("correct_test").GetInt32())
                        "correct"
                | None -> ()
            }

        test "golden logreg_grid.six: chosen on what is held out, fitted to everything, tested once" {
            use scope = torch.NewDisposeScope()
            use frozen = torch.no_grad ()
            let e = Golden.entry "protocols" "logreg_grid.six"
            let rows name = Golden.input name e ||> tensor
            let train, test = rows "train", rows "test"
            let labels = whole e "ytrain"
            let held = whole e "holdout"

            let kept =
                [|
                    for i in 0L .. 149L do
                        if not (Array.contains i held) then
                            i
                |]

            let take (places: int64[]) =
                train.index_select (0L, torch.tensor (places, dtype = torch.int64))

            let predictions (rows: torch.Tensor) fit =
                let w, b = parts 10 6 fit
                (rows.mm(w).add b).argmax(1L).data<int64>().ToArray()

            let correct (want: int64[]) got =
                Array.zip want got |> Array.filter (fun (a, b) -> a = b) |> Array.length

            let expected = e.GetProperty "expected"
            let values = Golden.floats (expected.GetProperty "C_values")

            let counts =
                [|
                    for c in values ->
                        fitOf (take kept) [| for i in kept -> labels[int i] |] 6 (1. / (c * float kept.Length)) null
                        |> predictions (take held)
                        |> correct [| for i in held -> labels[int i] |]
                |]

            Expect.equal counts (Golden.ints (expected.GetProperty "correct_holdout")) "held out"
            let chosen = counts |> Array.findIndex ((=) (Array.max counts))
            Expect.equal chosen (expected.GetProperty("chosen_index").GetInt32()) "chosen"
            let got = fitOf train labels 6 (1. / (values[chosen] * 150.)) null |> predictions test
            Expect.equal (Array.map int got) (Golden.ints (expected.GetProperty "predictions_test")) "predictions"
        }
    ]

let private optimum =
    [
        test "the gradient in double is that of differences of the value" {
            use scope = torch.NewDisposeScope()
            let width, count, classes, l2 = 3, 20, 3, 0.05
            let values, labels = blobs 4UL classes count width 0.7
            let rows = tensor [| int64 count; int64 width |] values
            use loss = new LogisticLoss(rows, torch.tensor (labels, dtype = torch.int64), classes)
            let point = Numbers.unstructured 2. loss.Size
            let gradient = Array.zeroCreate loss.Size
            loss.Evaluate(ReadOnlySpan point, Span gradient, l2) |> ignore

            let value (x: float[]) =
                loss.Evaluate(ReadOnlySpan x, Span(Array.zeroCreate loss.Size), l2)

            Array.iter2 (Golden.agrees "partial derivative" 1e-7 1e-9) (Numbers.differences value point) gradient
        }

        test "the optimum does not depend on the start, the units of the columns or their order of size" {
            use scope = torch.NewDisposeScope()
            let width, count, classes = 6, 150, 4
            let values, labels = blobs 5UL classes count width 0.6
            let rows = tensor [| int64 count; int64 width |] values

            for l2 in [ 1e-8; 1e-6; 1e-3; 0.1; 10. ] do
                let from start = fitOf rows labels classes l2 start
                let zero = from null
                let elsewhere = from (Array.map ((*) 3.) (Numbers.unstructured 8. zero.Point.Length))
                let weights = width * classes

                for fit in [ zero; elsewhere ] do
                    Expect.isTrue fit.Converged $"converged at {l2}: {fit.GradientNorm} after {fit.Iterations}"

                let norm (x: float[]) = sqrt (Array.sumBy (fun v -> v * v) x)
                let w = zero.Point[.. weights - 1]
                let moved = Array.map2 (-) w elsewhere.Point[.. weights - 1]
                Expect.isLessThan (norm moved) (3e-7 * norm w) $"weights at {l2}"
        }
    ]

let private scored train test heldOut =
    LogisticProbe.Evaluate(train, test, LogisticProbeOptions(heldOut, 3UL))

let private probe =
    [
        test "units and offsets of columns, and columns without variance, change nothing" {
            let width, classes = 5, 3
            let values, labels = blobs 6UL classes 300 width 0.5

            let score change extra =
                let columns = width + extra

                let changed =
                    Array.init (300 * columns) (fun i ->
                        let row, c = i / columns, i % columns
                        if c < width then change c values[row * width + c] else 7.3)

                use train = part 0 200 columns (changed, labels)
                use test = part 200 100 columns (changed, labels)
                scored train test 0.2

            let plain = score (fun _ x -> x) 0
            Expect.isTrue plain.Converged "converged"

            let cases =
                [
                    "tiny and huge",
                    (fun c x ->
                        if c = 0 then 1e-25 * x
                        elif c = 1 then 1e25 * x
                        else x),
                    0
                    "offsets", (fun c x -> if c = 2 then x + 512. else x), 0
                    "constant columns", (fun _ x -> x), 3
                ]

            for what, change, extra in cases do
                let got = score change extra
                Expect.isTrue got.Converged $"{what}: converged"
                Expect.equal got.L2 plain.L2 $"{what}: penalty"
                Expect.equal got.HeldOutAccuracy plain.HeldOutAccuracy $"{what}: held out"
                Expect.equal got.Accuracy plain.Accuracy what
        }

        test "penalties beyond the first five are tried where the best lies at an end" {
            let width, classes = 60, 2

            for spread, l2 in [ 0.12, 1.; 0.3, 100. ] do
                let values, labels = blobs 11UL classes 140 width spread
                use train = part 0 100 width (values, labels)
                use test = part 100 40 width (values, labels)
                let got = scored train test 0.3
                Expect.equal got.L2 l2 $"spread {spread}"
                Expect.isTrue got.Converged $"spread {spread}: converged"
        }

        test "a narrow class between two others takes the weakest of the first five" {
            let band, count = 0.1, 600

            let label i x =
                if i % 3 = 1 then 1L
                elif x < 0. then 0L
                else 2L

            let values =
                Array.init count (fun i ->
                    let x = sin (1.7 * float (i * i) + 0.3 * float i)

                    if i % 3 = 1 then 0.9 * band * x
                    elif abs x <= band then float (sign x) * 1.2 * band
                    else x)

            let labels = values |> Array.mapi label
            use train = part 0 500 1 (values, labels)
            use test = part 500 100 1 (values, labels)
            let got = scored train test 0.2
            Expect.equal got.L2 1e-5 "penalty"
            Expect.equal got.Accuracy 100. "accuracy"
            Expect.isTrue got.Converged "converged"
        }

        // What tells the classes apart is a thousandth of what two columns share; a third column tells them for seven in ten, at no cost.
        test "penalties weaker than the first five are tried where only they let a small difference count" {
            let count = 900
            let noise, labels = blobs 12UL 2 count 3 0.

            let values =
                Array.init (count * 3) (fun i ->
                    let row = i / 3
                    let side = if labels[row] = 0L then -1. else 1.
                    let shared = noise[3 * row]
                    let told = side * (1. + 0.2 * abs noise[3 * row + 1])

                    match i % 3 with
                    | 0 -> shared + 1e-3 * told
                    | 1 -> shared - 1e-3 * told
                    | _ -> 0.5 * side + noise[3 * row + 2])

            use train = part 0 600 3 (values, labels)
            use test = part 600 300 3 (values, labels)
            let got = scored train test 0.2
            Expect.equal got.L2 1e-6 "penalty"
            Expect.isGreaterThan got.Accuracy 98. "accuracy"
            Expect.isTrue got.Converged "converged"
        }

        test "what cannot be scored is refused in one sentence" {
            let values, labels = blobs 7UL 2 20 3 1.
            use train = part 0 12 3 (values, labels)
            use test = part 12 8 3 (values, labels)

            for heldOut in [ 0.; 1.; nan ] do
                Expect.stringContains
                    (Refusals.message (fun () -> scored train test heldOut))
                    "held-out part"
                    $"{heldOut}"

            use single = bank 3 values[..5] [| 0L; 1L |]
            Expect.stringContains (Refusals.message (fun () -> scored single test 0.5)) "no class" "one image a class"
            use one = bank 3 values[..8] [| 1L; 1L; 1L |]
            Expect.stringContains (Refusals.message (fun () -> scored one test 0.5)) "two classes" "one class"

            for value in [ nan; infinity ] do
                let broken = Array.copy values
                broken[4] <- value

                Expect.stringContains
                    (Refusals.message (fun () -> part 0 12 3 (broken, labels)))
                    "not finite"
                    $"features with {value}"
        }
    ]

[<Tests>]
let tests =
    testList
        "logistic probe"
        [
            testList "golden" golden
            testList "optimum" optimum
            testList "scores" probe
        ]

module Tests.Core.EvaluationKnnTests

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
        // Where k exceeds the bank, both sources and we refuse.
        for e in Golden.family "protocols" [ "knn_cosine"; "knn_ties" ] do
            test $"golden {Golden.id e}" {
                let width = Golden.input "train" e |> fst |> Array.item 1 |> int

                let labels name =
                    Golden.input name e |> snd |> Array.map int64

                let rows name = Golden.input name e |> snd
                use train = bank width (rows "train") (labels "ytrain")
                let queries = rows "test"
                use test = bank width queries (Array.zeroCreate (queries.Length / width))

                let number (name: string) =
                    e.GetProperty("params").GetProperty(name).GetDouble()

                let expected = e.GetProperty "expected"
                let k = int (number "k")

                let predictions k =
                    KnnClassifier.Predict(train, test, k, Nullable(number "T")) |> Array.map int

                if k > int train.Count then
                    Refusals.refused "at least one" (fun () -> predictions k)

                    Expect.equal
                        (predictions (int train.Count))
                        (Golden.ints (expected.GetProperty "predictions_test"))
                        "the whole bank"
                else
                    let name =
                        if Golden.id e = "knn_ties.small" then
                            "predictions"
                        else
                            "predictions_test"

                    Expect.equal (predictions k) (Golden.ints (expected.GetProperty name)) "predictions"
            }

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

[<Tests>]
let tests = testList "evaluation.knn" knn

/// Where the documents' SimCLR and its augmentation are wrong, beside ours.
module Tests.Core.ErrataSimClrTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Losses
open SslResearch
open Tests.Support
open Tests.Support.Numbers

let private tau = 0.5

let private cosine (a: float[]) (b: float[]) =
    let dot = Array.fold2 (fun s x y -> s + x * y) 0.
    dot a b / sqrt (dot a a * dot b b)

let private ours (z: float[][]) =
    use scope = torch.NewDisposeScope()

    use t = torch.tensor(Array.concat z, dtype = torch.float64).reshape(int64 z.Length, int64 z[0].Length)

    NtXent.Loss(t, tau).item<float>()

/// Views that agree wholly, of images that have nothing in common: what contrastive learning is to reach.
let private solved =
    let n = 4

    [|
        for _ in 1..2 do
            for i in 0 .. n - 1 -> Array.init n (fun j -> if i = j then 1. else 0.)
    |]

/// The documents' first version: the diagonal is dropped, and the right answer of every row is said to be column 0.
let private labelledZero (z: float[][]) =
    Array.averageBy
        (fun i ->
            let logits =
                [|
                    for j in 0 .. z.Length - 1 do
                        if j <> i then
                            cosine z[i] z[j] / tau
                |]

            log (Array.sumBy exp logits) - logits[0])
        [| 0 .. z.Length - 1 |]

/// The documents' second version: both rows of an image leave index k out of their denominators, which is the row itself for the first
/// view, but the positive for the second.
let private wronglyExcluded (z: float[][]) =
    let n = z.Length / 2

    let row i partner excluded =
        let total =
            Seq.sum (
                seq {
                    for l in 0 .. z.Length - 1 do
                        if l <> excluded then
                            exp (cosine z[i] z[l] / tau)
                }
            )

        log total - cosine z[i] z[partner] / tau

    Array.averageBy (fun k -> (row k (k + n) k + row (k + n) k k) / 2.) [| 0 .. n - 1 |]

[<Tests>]
let tests =
    testList
        "errata simclr"
        [
            test "erratum 1: with every row labelled 0, the solved task costs more than knowing nothing" {
                let chance = NtXent.Chance 4
                Expect.isGreaterThan (labelledZero solved) chance "the documents' version punishes the solution"
                Expect.isLessThan (ours solved) chance "ours rewards it"

                // Whose embedding is like that of row 0 is all that theirs looks at.
                let collapsed = Array.init 8 (fun _ -> [| 1.; 0.; 0.; 0. |])

                Expect.isLessThan
                    (labelledZero collapsed)
                    (labelledZero solved)
                    "theirs prefers collapse to the solution"

                Expect.isGreaterThan (ours collapsed) (ours solved) "ours does not"
            }

            test "erratum 2: with the positive left out of the denominator, the loss is no cross entropy" {
                let near =
                    [|
                        [| 1.; 0.; 0. |]
                        [| -1.; 0.1; 0. |]
                        [| 1.; 0.05; 0. |]
                        [| -1.; 0.; 0.1 |]
                    |]

                let mixed = arbitrary 3 (8 * 5) |> Array.chunkBySize 5
                Expect.isGreaterThan (abs (wronglyExcluded mixed - ours mixed)) 1e-3 "another value than the paper's"

                // With equal views both agree: the row's own similarity and the positive's are the same then.
                Expect.floatClose
                    Accuracy.high
                    (wronglyExcluded solved)
                    (ours solved)
                    "equal only where views are equal"

                Expect.isLessThan (abs (wronglyExcluded near - ours near)) 0.1 "close where positives are close"
                let apart = [| near[0]; near[1]; near[1]; near[0] |]
                Expect.isGreaterThan (abs (wronglyExcluded apart - ours apart)) 0.1 "and not where they are far"
            }

            test "erratum 3: cut along the features, the loss never compares the two views" {
                use scope = torch.NewDisposeScope()
                let n, d = 6L, 8L

                let views = torch.tensor(arbitrary 5 (12 * 8), dtype = torch.float64).reshape(n, 2L, d)

                // (N, 2, …) flattened to 2N rows, then two chunks along dimension 1.
                let documents (v: torch.Tensor) =
                    let flat = v.reshape (2L * n, d)
                    let halves = flat.chunk (2L, 1L)
                    NtXent.Loss(halves[0], halves[1], tau)

                let ours (v: torch.Tensor) =
                    NtXent.Loss(v.select (1L, 0L), v.select (1L, 1L), tau)

                // Give each image the second view of its neighbour: no pair is left.
                let second = views.select(1L, 1L).roll([| 1L |], [| 0L |])
                let broken = torch.stack ([| views.select (1L, 0L); second |], 1L)
                let value (t: torch.Tensor) = t.item<float>()

                Expect.floatClose
                    Accuracy.high
                    (value (documents broken))
                    (value (documents views))
                    "theirs does not notice"

                Expect.isGreaterThan (abs (value (ours broken) - value (ours views))) 1e-3 "ours does"
                let halves = (views.reshape (2L * n, d)).chunk(2L, 1L)
                Expect.equal halves[0].shape [| 2L * n; d / 2L |] "2N halves of vectors, not N vectors"
            }

            test "erratum 7: blur of an even kernel is refused, and ours is applied to half of the views" {
                let shape = ImageShape(224, 224, 3)
                let plain = ChannelNormalisation([| 0.5f; 0.5f; 0.5f |], [| 0.5f; 0.5f; 0.5f |])
                let size = int (0.1 * 224.)
                Expect.equal size 22 "the documents' kernel"

                Expect.exists
                    (ViewPipeline.Problems(shape, [| KernelBlur(size, 0.1, 2., 1.) |], plain))
                    _.Contains("odd")
                    "no blur has a middle between two pixels"

                Expect.isEmpty
                    (ViewPipeline.Problems(shape, [| KernelBlur(size + 1, 0.1, 2., 1.) |], plain))
                    "23 is fine"

                match Blur 0.5 with
                | Op.Blur o ->
                    Expect.equal (o.P, o.MinSigma, o.MaxSigma) (0.5, 0.1, 2.) "Chen et al. 2020, appendix A"

                    let pipeline =
                        ViewPipeline(
                            ImageShape(32, 32, 3),
                            [| SslResearch.Core.Augment.Blur(o.MinSigma, o.MaxSigma, o.P) |],
                            plain
                        )

                    let applied =
                        Seq.init 4000 (fun i -> pipeline.Draw(1UL, 0, int64 i, 0))
                        |> Seq.filter (fun p -> pipeline.Describe(&p).Count > 0)
                        |> Seq.length

                    Expect.isLessThan (abs (applied - 2000)) 130 $"applied {applied} times of 4000"
                | other -> failtest $"{other}"
            }
        ]

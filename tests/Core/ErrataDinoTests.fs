module Tests.Core.ErrataDinoTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers

let private tau = 0.1

/// The documents' loss: both outputs cut in two, whatever the student's holds, and the four pairs without the equal-numbered ones.
let private documents (student: torch.Tensor) (teacher: torch.Tensor) =
    let targets = torch.nn.functional.softmax(teacher, 1L).chunk 2L

    let predictions = torch.nn.functional.log_softmax(student.div (tau.ToScalar()), 1L).chunk 2L

    let terms =
        [
            for t in 0..1 do
                for s in 0..1 do
                    if s <> t then
                        targets[t].mul(predictions[s]).sum(1L).neg().mean()
        ]

    terms.Head.add(terms.Tail.Head).div((2.).ToScalar())

let private ours (student: torch.Tensor) (teacher: torch.Tensor) crops =
    DinoLoss.Loss(student, DinoLoss.Targets(teacher, null, 1.), crops, tau)

/// Sizes of the gradient of each crop, where each has so many images.
let private reached (loss: torch.Tensor -> torch.Tensor) (student: torch.Tensor) images =
    let leaf = student.detach().requires_grad_()
    (loss leaf).backward()

    leaf.grad.abs().sum([| 1L |]).view(-1L, int64 images).sum([| 1L |])
    |> doubles
    |> Array.map (fun g -> g > 1e-9)

[<Tests>]
let tests =
    testList
        "errata: DINO"
        [
            test "erratum 5: on two crops both losses agree" {
                use scope = torch.NewDisposeScope()
                let student, teacher = matrix 1 8 5, matrix 2 8 5

                Expect.floatClose
                    Accuracy.high
                    (scalar (documents student teacher))
                    (scalar (ours student teacher 2))
                    "two crops"
            }

            test "erratum 5: two chunks of six crops do not fit the teacher's, ours pairs all ten" {
                use scope = torch.NewDisposeScope()
                let images, crops = 4, 6
                let student, teacher = matrix 1 (crops * images) 5, matrix 2 (2 * images) 5
                Expect.throws (fun () -> documents student teacher |> ignore) "12 rows against 4"
                let rows = doubles student |> Array.chunkBySize 5 |> Array.chunkBySize images

                let targets =
                    doubles (torch.nn.functional.softmax (teacher, 1L))
                    |> Array.chunkBySize 5
                    |> Array.chunkBySize images

                let logSoftmax (row: float[]) =
                    let total = row |> Array.sumBy (fun s -> exp (s / tau)) |> log
                    row |> Array.map (fun s -> s / tau - total)

                let pairs =
                    [
                        for t in 0..1 do
                            for v in 0 .. crops - 1 do
                                if v <> t then
                                    [
                                        for i in 0 .. images - 1 do
                                            let p, q = targets[t][i], logSoftmax (rows[v][i])
                                            -(Array.fold2 (fun s p q -> s + p * q) 0. p q)
                                    ]
                                    |> List.average
                    ]

                Expect.equal pairs.Length 10 "pairs"
                Expect.floatClose Accuracy.high (scalar (ours student teacher crops)) (List.average pairs) "their mean"
            }

            test
                "erratum 5: where a single image lets the shapes pass, a crop is paired with itself and others are left out" {
                use scope = torch.NewDisposeScope()
                let teacher = matrix 2 2 5
                let student = matrix 1 4 5 // two large crops, then two small ones

                // The second large crop's own target belongs to no pair: following it must not change the loss.
                let target (loss: torch.Tensor -> torch.Tensor -> torch.Tensor) =
                    let leaf = teacher.narrow(0, 1L, 1L).detach().requires_grad_()
                    let second = student.narrow (0, 1L, 1L)

                    let others =
                        [|
                            student.narrow (0, 0L, 1L)
                            student.narrow (0, 2L, 1L)
                            student.narrow (0, 3L, 1L)
                        |]

                    // Weight of the pair (teacher's second, student's second): mixed derivative by moving both.
                    let value (t: float) (s: float) =
                        let moved = second.clone ()
                        moved[0L, 0L] <- moved[0L, 0L].add(s.ToScalar())
                        let told = leaf.detach().clone()
                        told[0L, 0L] <- told[0L, 0L].add(t.ToScalar())

                        scalar (
                            loss
                                (torch.cat ([| others[0]; moved; others[1]; others[2] |], 0L))
                                (torch.cat ([| teacher.narrow (0, 0L, 1L); told |], 0L))
                        )

                    value 0.5 0.5 - value 0.5 0. - value 0. 0.5 + value 0. 0.

                Expect.isGreaterThan (abs (target documents)) 1e-3 "theirs: the second large crop predicts itself"
                Expect.isLessThan (abs (target (fun s t -> ours s t 4))) 1e-12 "ours: it does not"

                // Of the pairs of the first target, (1, second large crop) is missing there.
                let first (loss: torch.Tensor -> torch.Tensor -> torch.Tensor) =
                    let value (t: float) (s: float) =
                        let told, moved = teacher.clone (), student.clone ()
                        told[0L, 0L] <- told[0L, 0L].add(t.ToScalar())
                        moved[1L, 0L] <- moved[1L, 0L].add(s.ToScalar())
                        scalar (loss moved told)

                    value 0.5 0.5 - value 0.5 0. - value 0. 0.5 + value 0. 0.

                Expect.isLessThan (abs (first documents)) 1e-12 "theirs: never paired"
                Expect.isGreaterThan (abs (first (fun s t -> ours s t 4))) 1e-3 "ours: paired"
            }

            test "erratum 5: every crop learns from both targets" {
                use scope = torch.NewDisposeScope()
                let student, teacher = matrix 1 24 5, matrix 2 8 5
                Expect.all (reached (fun s -> ours s teacher 6) student 4) id "gradient"
            }

            test "erratum 5: crops of two resolutions do not fit one tensor; ours pass in one pass a resolution" {
                use scope = torch.NewDisposeScope()
                let large, small = torch.rand (4L, 3L, 12L, 12L), torch.rand (6L, 3L, 8L, 8L)
                Expect.throws (fun () -> torch.cat ([| large; small |], 0L) |> ignore) "one tensor"
                let encoder = resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

                let options =
                    DinoOptions(
                        DinoHeadOptions(2, 8, 4, 6, false),
                        0.1,
                        0.04,
                        0.04,
                        0.,
                        true,
                        true,
                        0.9,
                        (fun _ -> 0.9),
                        0.
                    )

                use method = new Dino(encoder, options, torch.CPU)
                method.Initialise 3UL
                let context = StepContext(0UL, 0L, 3L, 0)
                let output = method.Forward(MultiCrop(large, small), &context)
                Expect.isTrue (Double.IsFinite(scalar output.Loss)) "loss"

                let passes (m: torch.nn.Module) =
                    [
                        for struct (name, b) in m.named_buffers () do
                            if name.EndsWith "num_batches_tracked" then
                                b.item<int64>()
                    ]
                    |> List.distinct

                Expect.equal (passes encoder) [ 2L ] "student: one pass a resolution"
                Expect.equal (passes method.Encoder) [ 1L ] "teacher: large crops only"
            }
        ]

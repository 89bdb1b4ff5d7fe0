module Tests.Core.KoLeoLossTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

let private entries =
    Golden.family "losses" [ "koleo"; "koleo_lightly"; "koleo_points" ]
    |> List.map Golden.id

/// Loops over pairs: the least distance from another vector, ε where the authors add it.
let private naive (rows: float[][]) =
    let eps = 1e-8

    let unit =
        rows
        |> Array.map (fun row ->
            let length = max eps (sqrt (Array.sumBy (fun x -> x * x) row))
            row |> Array.map (fun x -> x / length))

    let distance a b =
        Array.map2 (fun x y -> (x - y + eps) ** 2.) a b |> Array.sum |> sqrt

    [
        for i in 0 .. unit.Length - 1 do
            let others = [ for j in 0 .. unit.Length - 1 -> j ] |> List.filter ((<>) i)

            // The nearest by angle, which is the nearest by distance up to ε.
            let nearest =
                others
                |> List.maxBy (fun j -> Array.fold2 (fun s x y -> s + x * y) 0. unit[i] unit[j])

            -(log (distance unit[i] unit[nearest] + eps))
    ]
    |> List.average

[<Tests>]
let tests =
    testList
        "koleo loss"
        [
            test "the golden file has its entries" { Expect.hasLength entries 8 "entries" }

            // The listed points come without gradients.
            yield!
                entries
                |> List.filter (fun id -> not (id.StartsWith "koleo_points."))
                |> List.collect (fun id -> GoldenLoss.tests id (fun c -> KoLeoLoss.Loss(c.Input "A")))

            for id in entries |> List.filter (fun id -> id.StartsWith "koleo_points.") do
                test $"golden {id}" {
                    GoldenLoss.read id (fun c expected ->
                        KoLeoLoss.Loss(c.Input "A")
                        |> scalar
                        |> GoldenLoss.agrees c "value" (expected.GetProperty("value").GetDouble()))
                }

            test "the loss equals loops" {
                for rows in [ 2L; 3L; 7L ] do
                    for width in [ 2L; 5L ] do
                        use scope = torch.NewDisposeScope()
                        let shape, values = GoldenLoss.arbitrary (float rows) [ rows; width ]
                        let expected = naive (values |> Array.chunkBySize (int width))
                        let got = scalar (KoLeoLoss.Loss(tensor shape values))
                        Expect.isTrue (Golden.close 1e-9 1e-11 expected got) $"{rows}×{width}: {expected} against {got}"
            }

            test "the gradient equals finite differences, the neighbour's part included" {
                GoldenLoss.finiteDifferences [ GoldenLoss.arbitrary 3. [ 5L; 3L ] ] (fun t -> KoLeoLoss.Loss t.Head)
            }

            test "length and order of rows make no difference, distance from the neighbour does" {
                use scope = torch.NewDisposeScope()
                let shape, values = GoldenLoss.arbitrary 3. [ 6L; 4L ]
                let rows = tensor shape values
                let expected = scalar (KoLeoLoss.Loss rows)

                let close what t =
                    Expect.floatClose Accuracy.high (scalar (KoLeoLoss.Loss t)) expected what

                close "longer" (rows.mul ((7.).ToScalar()))
                close "turned round" (rows.flip [| 0L |])

                let two (angle: float) =
                    scalar (KoLeoLoss.Loss(tensor [| 2L; 2L |] [| 1.; 0.; cos angle; sin angle |]))

                Expect.isGreaterThan (two 0.1) (two 1.) "nearer costs more"
                Expect.floatClose Accuracy.medium (two Math.PI) -(log 2.) "the least"
            }

            test "a step down the gradient drives nearest neighbours apart" {
                use scope = torch.NewDisposeScope()
                let rows = (tensor [| 3L; 2L |] [| 1.; 0.; 0.98; 0.2; -1.; 0.1 |]).requires_grad_()
                let before = KoLeoLoss.Loss rows
                before.backward ()
                let moved = rows.detach().sub(rows.grad.mul ((0.01).ToScalar()))
                Expect.isLessThan (scalar (KoLeoLoss.Loss moved)) (scalar before) "loss"
            }

            test "equal rows and rows of zeros: a large finite loss, finite gradients" {
                for fill in [ 0.; 1. ] do
                    let value = GoldenLoss.atCollapse fill [ [| 6L; 4L |] ] (fun t -> KoLeoLoss.Loss t.Head)
                    Expect.floatClose Accuracy.medium value -(log (3. * 1e-8)) $"all {fill}: ε·(√4 + 1)"
            }

            test "a single row has no neighbour: the loss tells of ε alone, without gradient" {
                use scope = torch.NewDisposeScope()
                let row = (tensor [| 1L; 3L |] [| 1.; 2.; 3. |]).requires_grad_()
                KoLeoLoss.Loss(row).backward()
                Expect.all (doubles row.grad) (fun g -> abs g < 1e-9) "gradient"
                Expect.equal KoLeoLoss.LeastRows 2 "what a batch needs"
            }

            test "half precision is widened: neighbours at a distance of 1e-3 are still told apart" {
                use scope = torch.NewDisposeScope()
                let exact = torch.tensor ([| 1f; 0f; 1f; 0.001953125f |], dtype = torch.float32)
                let rows = exact.reshape (2L, 2L) // exact in bfloat16 too
                let narrow = rows.``to``(torch.bfloat16).requires_grad_()
                let loss = KoLeoLoss.Loss narrow
                Expect.equal loss.dtype torch.float32 "dtype"
                Expect.floatClose Accuracy.medium (scalar loss) (scalar (KoLeoLoss.Loss rows)) "value"
                loss.backward ()
                Expect.equal narrow.grad.dtype torch.bfloat16 "gradient"
            }

            test "nothing stays behind" {
                use rows = torch.rand (5L, 3L)
                GoldenLoss.leavesNothing (fun () -> KoLeoLoss.Loss rows)
            }

            test "wrong shapes are refused" {
                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> KoLeoLoss.Loss(torch.zeros 4L)))
                    "expected (N, d), received (4)"
                    "message"
            }
        ]

module Tests.Core.NegativeCosineTests

open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks

/// Eq. 2 of BYOL, loop by loop: squared distance of unit vectors.
let private naive (p: float[][]) (z: float[][]) =
    let unit v =
        let length = sqrt (Array.sumBy (fun x -> x * x) v)
        Array.map (fun x -> x / length) v

    Array.map2 (fun a b -> Array.fold2 (fun s x y -> s + (x - y) * (x - y)) 0. (unit a) (unit b)) p z
    |> Array.average

let private four loss (c: GoldenLoss.Case) =
    let i = c.Input
    loss (i "p1", i "p2", i "z1", i "z2")

let private golden =
    [
        yield!
            GoldenLoss.testsOf [ "negcos.small"; "negcos.rich" ] (fun c ->
                NegativeCosine.Loss(c.Input "A", c.Input "B"))

        yield!
            GoldenLoss.testsOf [ "byol.small"; "byol.rich" ] (fun c -> NegativeCosine.Squares(c.Input "A", c.Input "B"))

        yield!
            GoldenLoss.testsOf
                [ "simsiam.fb"; "simsiam.lightly"; "byol.symmetric_lightly" ]
                (four (fun (p1, p2, z1, z2) -> NegativeCosine.Symmetric(p1, p2, z1, z2)))

        yield! GoldenLoss.tests "byol.symmetric_sum" (four NegativeCosine.SymmetricSquares)
    ]

[<Tests>]
let tests =
    testList
        "negative cosine"
        [
            testList "golden" golden

            test "squared distance of unit vectors, as BYOL writes it, is 2 - 2cos" {
                for n, d in [ 1L, 1L; 3L, 2L; 7L, 16L ] do
                    use scope = torch.NewDisposeScope()
                    let s, p = GoldenLoss.arbitrary 1. [ n; d ]
                    let _, z = GoldenLoss.arbitrary 2. [ n; d ]
                    let rows = Array.chunkBySize (int d)
                    let got = NegativeCosine.Squares(tensor s p, tensor s z).item<float>()
                    Expect.floatClose Accuracy.high got (naive (rows p) (rows z)) $"{n} × {d}"
            }

            test "gradients equal finite differences, with and without stop-gradient" {
                let a, b = GoldenLoss.arbitrary 3. [ 4L; 3L ], GoldenLoss.arbitrary 4. [ 4L; 3L ]
                GoldenLoss.finiteDifferences [ a; b ] (fun t -> NegativeCosine.Loss(t[0], t[1]))
                use scope = torch.NewDisposeScope()
                let target = b ||> tensor
                GoldenLoss.finiteDifferences [ a ] (fun t -> NegativeCosine.ToTarget(t[0], target))

                GoldenLoss.finiteDifferences [ a; b; b; a ] (fun t ->
                    NegativeCosine.Symmetric(t[0], t[1], t[2], t[3], stopGradient = false))
            }

            test "targets get no gradient, unless they are asked to" {
                use scope = torch.NewDisposeScope()

                let leaf seed =
                    (GoldenLoss.arbitrary seed [ 4L; 3L ] ||> tensor).requires_grad_()

                let p1, p2, z1, z2 = leaf 1., leaf 2., leaf 3., leaf 4.

                (NegativeCosine.Symmetric(p1, p2, z1, z2)
                 + NegativeCosine.SymmetricSquares(p1, p2, z1, z2))
                    .backward()

                Expect.isNull z1.grad "z1"
                Expect.isNull z2.grad "z2"
                NegativeCosine.Symmetric(p1, p2, z1, z2, stopGradient = false).backward()
                Expect.isNotNull z1.grad "z1 without stop-gradient"
            }

            test "it sees neither order nor length, and directions swap" {
                use scope = torch.NewDisposeScope()

                let t seed =
                    GoldenLoss.arbitrary seed [ 5L; 4L ] ||> tensor

                let p1, p2, z1, z2 = t 1., t 2., t 3., t 4.

                let value (a, b, c, d) =
                    NegativeCosine.SymmetricSquares(a, b, c, d).item<float>()

                let expected = value (p1, p2, z1, z2)
                Expect.floatClose Accuracy.high (value (p2, p1, z2, z1)) expected "directions"
                Expect.floatClose Accuracy.high (value (p1 * 3., p2, z1, z2 * 0.1)) expected "lengths"
                let order = torch.tensor [| 3L; 0L; 4L; 1L; 2L |]
                let moved (x: torch.Tensor) = x.index_select (0, order)
                Expect.floatClose Accuracy.high (value (moved p1, moved p2, moved z1, moved z2)) expected "order"
            }

            test "collapsed values: -1 and 0; zero vectors are orthogonal to all, with finite gradients" {
                let shapes = List.replicate 4 [| 6L; 3L |]

                let symmetric (t: torch.Tensor list) =
                    NegativeCosine.Symmetric(t[0], t[1], t[2], t[3], false)

                let squares (t: torch.Tensor list) =
                    NegativeCosine.SymmetricSquares(t[0], t[1], t[2], t[3])

                Expect.floatClose Accuracy.high (GoldenLoss.atCollapse 0.7 shapes symmetric) -1. "cosine, equal"
                Expect.isLessThan (abs (GoldenLoss.atCollapse 0.7 shapes squares)) 1e-9 "squares, equal"
                Expect.floatClose Accuracy.high (GoldenLoss.atCollapse 0. shapes symmetric) 0. "cosine, zero"
                Expect.floatClose Accuracy.high (GoldenLoss.atCollapse 0. shapes squares) 4. "squares, zero"
            }

            test "other shapes are refused with a clear message" {
                let message f = GoldenLoss.refusal f

                Expect.stringContains
                    (message (fun () -> NegativeCosine.Loss(torch.zeros (4L, 3L), torch.zeros (4L, 2L))))
                    "received (4, 3) and (4, 2): a prediction is as long as its target"
                    "widths"

                Expect.stringContains
                    (message (fun () -> NegativeCosine.Loss(torch.zeros 4L, torch.zeros 4L)))
                    "received (4)"
                    "one dimension"
            }

            test "nothing is left behind" {
                GoldenLoss.leavesNothing (fun () ->
                    use z = torch.rand (8L, 4L)
                    use a = NegativeCosine.Symmetric(z, z, z, z)
                    NegativeCosine.SymmetricSquares(z, z, z, z))
            }
        ]

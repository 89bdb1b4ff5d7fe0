/// The parts of a discrete autoencoder's loss: relaxed draws, divergence from the uniform distribution, likelihood of pixels.
module Tests.Core.DvaeLossTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Numbers
open Tests.Support.GoldenLoss
open Tests.Support.Networks

let private rows width (values: float[]) = Array.chunkBySize width values

let private relaxation =
    testList
        "relaxed draws"
        [
            test "equal loops from the paper" {
                for count, width in [ 1, 1; 1, 5; 4, 3; 7, 16 ] do
                    for temperature in [ 1. / 16.; 0.5; 1.; 4. ] do
                        use scope = torch.NewDisposeScope()
                        let shape, logits = arbitrary 1. [ int64 count; int64 width ]
                        let _, noise = arbitrary 2. [ int64 count; int64 width ]

                        let expected =
                            Array.map2
                                (fun l g -> Array.map2 (fun l g -> (l + g) / temperature) l g |> softmax 1.)
                                (rows width logits)
                                (rows width noise)
                            |> Array.concat

                        let got = doubles (GumbelSoftmax.Relax(tensor shape logits, tensor shape noise, temperature))

                        Array.iter2 (Golden.agrees $"{count} × {width} at {temperature}" 1e-10 1e-12) expected got
            }

            test "their gradient equals finite differences; none reaches the noise" {
                let noise = arbitrary 5. [ 4L; 6L ]
                let weights = arbitrary 9. [ 4L; 6L ]

                finiteDifferences [ arbitrary 3. [ 4L; 6L ] ] (fun leaves ->
                    GumbelSoftmax.Relax(leaves[0], noise ||> tensor, 0.4).mul(weights ||> tensor).sum())

                use scope = torch.NewDisposeScope()
                let logits, g = (noise ||> tensor).requires_grad_(), (noise ||> tensor).requires_grad_()
                GumbelSoftmax.Relax(logits, g, 0.4).square().sum().backward()
                Expect.isTrue (isNull g.grad) "noise"
                Expect.isFalse (isNull logits.grad) "logits"
            }

            test
                "a constant added to a row's logits changes nothing, and cold draws are one-hot where logit and noise are largest" {
                use scope = torch.NewDisposeScope()
                let logits, noise = arbitrary 3. [ 5L; 7L ] ||> tensor, arbitrary 4. [ 5L; 7L ] ||> tensor
                let moved = logits.add (tensor [| 5L; 1L |] [| 0.; 1.; -2.; 3.; 10. |])
                let a = GumbelSoftmax.Relax(logits, noise, 0.3)
                Expect.isTrue (torch.allclose (a, GumbelSoftmax.Relax(moved, noise, 0.3), 1e-10, 1e-12)) "shift"

                let cold = GumbelSoftmax.Relax(logits, noise, 1e-6)
                let best = logits.add(noise).argmax 1L
                Expect.isTrue (torch.allclose (cold, torch.nn.functional.one_hot(best, 7L).``to`` torch.float64)) "cold"
            }

            test "the largest entry is a draw from the softmax of the logits" {
                use scope = torch.NewDisposeScope()
                use _ = torch.manual_seed 3L
                let count = 40000
                let row = [| 0.; 1.; -0.5; 2.; 0.3 |]
                let logits = (tensor [| 1L; 5L |] row).``to``(torch.float32).expand(int64 count, 5L).contiguous()
                let drawn = GumbelSoftmax.Relax(logits, GumbelSoftmax.Noise logits, 0.7).argmax 1L
                let counts = drawn.cpu().data<int64>().ToArray() |> Array.countBy id |> Map.ofArray

                softmax 1. row
                |> Array.iteri (fun k p ->
                    let got = float (Map.tryFind (int64 k) counts |> Option.defaultValue 0) / float count
                    Expect.isLessThan (abs (got - p)) (5. * sqrt (p * (1. - p) / float count)) $"word {k}: {got}, {p}")
            }

            test "noise is standard Gumbel, finite, of the asked type and a function of torch's seed" {
                use scope = torch.NewDisposeScope()

                let noise (dtype: torch.ScalarType) =
                    use _ = torch.manual_seed 5L
                    GumbelSoftmax.Noise(torch.empty (300L, 400L, dtype = dtype))

                for dtype in [ torch.float32; torch.float64 ] do
                    let g = noise dtype
                    Expect.equal g.dtype dtype "type"
                    Expect.isFalse g.requires_grad "detached"
                    let values = doubles g
                    Expect.all values (fun x -> x > -3. && x < 17.) "finite"
                    let mean = Array.average values
                    let variance = values |> Array.averageBy (fun x -> (x - mean) ** 2.)
                    Golden.agrees "mean" 0. 0.02 0.5772157 mean
                    Golden.agrees "variance" 0.03 0. (Math.PI * Math.PI / 6.) variance
                    Expect.equal (doubles (noise dtype)) values "again"
            }

            test "all logits equal: finite, with finite gradients" {
                atCollapse 0. [ [| 3L; 4L |] ] (fun leaves ->
                    GumbelSoftmax.Relax(leaves[0], torch.zeros_like leaves[0], 0.1).square().sum())
                |> Golden.agrees "a quarter each" 1e-6 0. 0.75
            }

            test "the temperature falls along half a cosine, then stays" {
                let at step =
                    GumbelSoftmax.Temperature(1., 0.0625, 100L, step)

                Expect.equal (at 0L) 1. "start"
                Expect.floatClose Accuracy.high (at 50L) 0.53125 "half"
                Expect.floatClose Accuracy.high (at 25L) (0.0625 + 0.9375 * (1. + sqrt 0.5) / 2.) "quarter"
                Expect.equal (at 100L) 0.0625 "end"
                Expect.equal (at 1000L) 0.0625 "after"
                Expect.equal (GumbelSoftmax.Temperature(1., 0.5, 0L, 0L)) 0.5 "without decay"
            }

            test "other shapes and temperatures are refused, and nothing is left behind" {
                let relax (a: torch.Tensor) (b: torch.Tensor) t () = GumbelSoftmax.Relax(a, b, t)
                use a = torch.zeros (2L, 3L)
                use b = torch.zeros (2L, 4L)
                use c = torch.zeros 3L
                Expect.stringContains (refusal (relax a b 1.)) "(2, 3) and (2, 4)" "shapes"
                Expect.stringContains (refusal (relax c c 1.)) "received (3)" "dimensions"
                Expect.stringContains (refusal (relax a a 0.)) "received 0" "temperature"
                leavesNothing (relax a a 0.5)
                leavesNothing (fun () -> GumbelSoftmax.Noise a)
            }
        ]

let private divergence =
    testList
        "divergence from uniform"
        [
            test "is 0 for equal logits and ln V for one-hot ones" {
                for dtype in [ torch.float32; torch.float64 ] do
                    use scope = torch.NewDisposeScope()
                    let equal = torch.full ([| 3L; 8L |], (2.5).ToScalar(), dtype = dtype)
                    Golden.agrees "uniform" 0. 1e-6 0. (scalar (UniformDivergence.Mean equal))
                    let hot = torch.eye(8L, dtype = dtype).mul((1000.).ToScalar())
                    Golden.agrees "one-hot" 1e-6 0. (log 8.) (scalar (UniformDivergence.Mean hot))

                    Golden.agrees
                        "half"
                        1e-6
                        0.
                        (log 4.)
                        (scalar (UniformDivergence.Mean(hot[0L].add(hot[1L]).unsqueeze 0L)))

                Expect.floatClose Accuracy.high (UniformDivergence.Most 8) (log 8.) "the most there is"
            }

            test "equals loops" {
                for count, width in [ 1, 2; 3, 5; 6, 11 ] do
                    use scope = torch.NewDisposeScope()
                    let shape, logits = arbitrary 7. [ int64 count; int64 width ]

                    let expected =
                        rows width logits
                        |> Array.averageBy (fun row ->
                            softmax 1. row |> Array.sumBy (fun q -> q * log (q * float width)))

                    Golden.agrees
                        $"{count} × {width}"
                        1e-9
                        1e-12
                        expected
                        (scalar (UniformDivergence.Mean(tensor shape logits)))
            }

            test "its gradient equals finite differences and is 0 where logits are equal" {
                finiteDifferences [ arbitrary 2. [ 4L; 5L ] ] (fun leaves -> UniformDivergence.Mean leaves[0])

                atCollapse 1. [ [| 4L; 5L |] ] (fun leaves -> UniformDivergence.Mean leaves[0])
                |> Golden.agrees "collapse" 0. 1e-9 0.

                use scope = torch.NewDisposeScope()
                let equal = torch.ones(4L, 5L, dtype = torch.float64).requires_grad_()
                UniformDivergence.Mean(equal).backward()
                Expect.all (doubles equal.grad) (fun g -> abs g < 1e-12) "gradient"
            }

            test "its weight rises along half a cosine, then stays" {
                let at step = UniformDivergence.Weight(2., 10L, step)
                Expect.equal (at 0L) 0. "start"
                Expect.floatClose Accuracy.high (at 5L) 1. "half"
                Expect.equal (at 10L) 2. "end"
                Expect.equal (UniformDivergence.Weight(2., 0L, 0L)) 2. "without warm-up"
            }

            test "other shapes are refused, and nothing is left behind" {
                use a = torch.zeros 3L
                use b = torch.zeros (3L, 2L)
                Expect.stringContains (refusal (fun () -> UniformDivergence.Mean a)) "(M, K), received (3)" "shape"
                leavesNothing (fun () -> UniformDivergence.Mean b)
            }
        ]

/// Appendix A.3 for one value.
let private density location logScale x =
    let b = exp logScale
    let logit = log (x / (1. - x))
    exp (-abs(logit - location) / b) / (2. * b * x * (1. - x))

let private likelihood =
    testList
        "logit-Laplace"
        [
            test "equals loops from the paper" {
                use scope = torch.NewDisposeScope()
                let shape, location = arbitrary 1. [ 3L; 4L ]
                let _, logScale = arbitrary 2. [ 3L; 4L ]
                let pixels = snd (arbitrary 3. [ 3L; 4L ]) |> Array.map (fun x -> 0.5 + 0.5 * x)

                let expected =
                    Array.map3 (fun m s v -> -log(density m s (0.8 * v + 0.1))) location logScale pixels
                    |> Array.average

                let got = LogitLaplace.Loss(tensor shape location, tensor shape logScale, tensor shape pixels)

                Golden.agrees "mean" 1e-9 1e-12 expected (scalar got)
            }

            test "is a distribution: its mass over the range of pixels is 1" {
                use scope = torch.NewDisposeScope()
                let steps = 20000
                // With b = e^-2 what lies outside of 0.1 … 0.9 is below 1e-5.
                let mass =
                    Seq.init steps (fun i ->
                        let v = (float i + 0.5) / float steps

                        let loss =
                            LogitLaplace.Loss(
                                tensor [| 1L |] [| 0.4 |],
                                tensor [| 1L |] [| -2. |],
                                tensor [| 1L |] [| v |]
                            )

                        exp -(scalar loss) * 0.8 / float steps)
                    |> Seq.sum

                Golden.agrees "mass" 0. 1e-4 1. mass
            }

            test "its gradients equal finite differences" {
                let pixels = [| 0.; 0.2; 0.77; 1.; 0.5; 0.31 |]

                finiteDifferences [ arbitrary 4. [ 2L; 3L ]; arbitrary 8. [ 2L; 3L ] ] (fun leaves ->
                    LogitLaplace.Loss(leaves[0], leaves[1], tensor [| 2L; 3L |] pixels))
            }

            test "the scale is bounded, so that flat images cost no infinite reward" {
                use scope = torch.NewDisposeScope()
                let zero = torch.zeros (4L, dtype = torch.float64)
                let half = zero.add ((0.5).ToScalar())

                let at (scale: float) =
                    LogitLaplace.Loss(zero, zero.add (scale.ToScalar()), half)

                Golden.agrees "bound" 1e-12 0. (scalar (at -7.)) (scalar (at -500.))
                Expect.isTrue (Double.IsFinite(scalar (at 500.))) "finite"

                atCollapse 0. [ [| 2L |]; [| 2L |] ] (fun l -> LogitLaplace.Loss(l[0], l[1], l[0]))
                |> ignore
            }

            test "pixels come back from their own logits" {
                use scope = torch.NewDisposeScope()
                let pixels = [| 0.; 0.25; 0.5; 1. |]
                let x = pixels |> Array.map (fun v -> 0.8 * v + 0.1)
                let logits = x |> Array.map (fun x -> log (x / (1. - x)))

                Array.iter2
                    (Golden.agrees "pixel" 1e-9 1e-12)
                    pixels
                    (doubles (LogitLaplace.Pixels(tensor [| 4L |] logits)))

                let far = LogitLaplace.Pixels(tensor [| 2L |] [| -50.; 50. |])
                Expect.equal (doubles far) [| 0.; 1. |] "held within"
            }

            test "other shapes are refused, and nothing is left behind" {
                use a = torch.zeros (2L, 3L)
                use b = torch.zeros 6L
                Expect.stringContains (refusal (fun () -> LogitLaplace.Loss(a, a, b))) "(2, 3) and (6)" "shapes"
                leavesNothing (fun () -> LogitLaplace.Loss(a, a, a))
                leavesNothing (fun () -> LogitLaplace.Pixels a)
            }
        ]

[<Tests>]
let tests = testList "dvae losses" [ relaxation; divergence; likelihood ]

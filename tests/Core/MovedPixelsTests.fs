/// Pixels as weighted means of their windows.
module Tests.Core.MovedPixelsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

/// Every pixel as a weighted mean of its window, loop by loop.
let private naiveMove (scores: float[]) (source: float[]) m c h w reach =
    let side = 2 * reach + 1
    let window = side * side

    [|
        for i in 0 .. m - 1 do
            for channel in 0 .. c - 1 do
                for y in 0 .. h - 1 do
                    for x in 0 .. w - 1 do
                        let raw =
                            Array.init window (fun k ->
                                scores[((i * h + y) * w + x) * window + k]
                                + if k = window / 2 then log (float (window - 1)) else 0.)

                        let largest = Array.max raw
                        let weights = raw |> Array.map (fun s -> exp (s - largest))
                        let total = Array.sum weights

                        let pixel k =
                            let row = Math.Clamp(y + k / side - reach, 0, h - 1)
                            let column = Math.Clamp(x + k % side - reach, 0, w - 1)
                            source[((i * c + channel) * h + row) * w + column]

                        Seq.sum (seq { for k in 0 .. window - 1 -> weights[k] / total * pixel k })
    |]

[<Tests>]
let tests =
    testList
        "moved pixels"
        [
            test "values equal loops over every window" {
                for m, c, h, w, reach in [ 1, 1, 1, 1, 1; 2, 3, 4, 5, 1; 1, 2, 6, 3, 2; 2, 1, 3, 3, 3 ] do
                    use scope = torch.NewDisposeScope()
                    let window = MovedPixels.Window reach
                    Expect.equal window (pown (2 * reach + 1) 2) "window"
                    let scores = arbitrary 1 (m * h * w * window) |> Array.map ((*) 3.)
                    let source = arbitrary 2 (m * c * h * w)
                    let size = [ m; c; h; w ] |> List.map int64

                    let got =
                        MovedPixels.Apply(
                            tensor [| size[0]; size[2]; size[3]; int64 window |] scores,
                            tensor (List.toArray size) source,
                            reach
                        )

                    Expect.equal (List.ofArray got.shape) size "shape"

                    Array.iter2 (close "pixel" 1e-12) (naiveMove scores source m c h w reach) (doubles got)
            }

            test "equal scores leave half of each pixel where it is; one large score moves the image" {
                use scope = torch.NewDisposeScope()
                let source = tensor [| 1L; 1L; 5L; 5L |] (Array.init 25 (fun i -> if i = 12 then 1. else 0.))

                let still =
                    MovedPixels.Apply(tensor [| 1L; 5L; 5L; 9L |] (Array.zeroCreate 225), source, 1)
                    |> doubles

                close "the pixel" 1e-12 0.5 still[12]
                close "its neighbours" 1e-12 (1. / 16.) still[6]

                // From the pixel on the left: the image goes to the right.
                let scores = Array.init 225 (fun i -> if i % 9 = 3 then 60. else 0.)
                let right = MovedPixels.Apply(tensor [| 1L; 5L; 5L; 9L |] scores, source, 1) |> doubles
                Array.iteri (fun i v -> close $"{i}" 1e-12 (if i = 13 then 1. else 0.) v) right
            }

            test "gradient equals finite differences, for scores and source" {
                use scope = torch.NewDisposeScope()
                let s, x = arbitrary 5 (2 * 3 * 2 * 9), arbitrary 6 (2 * 2 * 3 * 2)
                let scores values = tensor [| 2L; 3L; 2L; 9L |] values
                let source values = tensor [| 2L; 2L; 3L; 2L |] values
                let weigh (t: torch.Tensor) = t.mul(source (arbitrary 7 24)).sum()
                let leafS, leafX = (scores s).requires_grad_(), (source x).requires_grad_()
                (weigh (MovedPixels.Apply(leafS, leafX, 1))).backward()

                Array.iter2
                    (close "scores" 1e-8)
                    (differences (fun s -> scalar (weigh (MovedPixels.Apply(scores s, source x, 1)))) s)
                    (doubles leafS.grad)

                Array.iter2
                    (close "source" 1e-8)
                    (differences (fun x -> scalar (weigh (MovedPixels.Apply(scores s, source x, 1)))) x)
                    (doubles leafX.grad)
            }

            test "shapes that do not fit are refused" {
                use scope = torch.NewDisposeScope()
                let scores (window: int64) = torch.zeros (1L, 4L, 4L, window)
                use source = torch.zeros (1L, 3L, 4L, 4L)

                for window, reach in [ 9L, 2; 25L, 1; 1L, 0 ] do
                    Expect.stringContains
                        (message (fun () -> MovedPixels.Apply(scores window, source, reach)))
                        "reach of at least 1"
                        $"{window}, {reach}"
            }
        ]

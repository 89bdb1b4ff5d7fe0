/// The error of a predicted frame.
module Tests.Core.FrameLossTests

open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

[<Tests>]
let tests =
    testList
        "frame loss"
        [
            test "loss equals loops over every pixel, in both precisions" {
                for shape in [ [| 1L; 1L; 1L |]; [| 2L; 3L; 4L; 5L |]; [| 2L; 3L; 1L; 4L; 4L |] ] do
                    use scope = torch.NewDisposeScope()
                    let count = int (Array.reduce (*) shape)
                    let p, x = arbitrary 1 count, arbitrary 2 count
                    let squared = Array.map2 (fun p x -> (p - x) ** 2.) p x |> Array.average
                    let absolute = Array.map2 (fun p x -> abs (p - x)) p x |> Array.average

                    for dtype, tolerance in [ torch.float64, 1e-12; torch.float32, 1e-6 ] do
                        let real values =
                            (tensor shape values).``to``(dtype: torch.ScalarType)

                        let first = FrameLoss.Squared(real p, real x)
                        Expect.equal first.dtype dtype "dtype"
                        close "squared" tolerance squared (scalar first)
                        close "absolute" tolerance absolute (scalar (FrameLoss.Absolute(real p, real x)))
            }

            test "gradient equals finite differences; none reaches the truth" {
                let shape = [| 2L; 3L; 2L; 2L |]

                for loss in
                    [
                        (fun (p, x) -> FrameLoss.Squared(p, x))
                        (fun (p, x) -> FrameLoss.Absolute(p, x))
                    ] do
                    use scope = torch.NewDisposeScope()
                    let p, x = arbitrary 3 24, arbitrary 4 24

                    let f p =
                        scalar (loss (tensor shape p, tensor shape x))

                    let predicted = (tensor shape p).requires_grad_()
                    let truth = (tensor shape x).requires_grad_()
                    (loss (predicted, truth)).backward()
                    Array.iter2 (close "gradient" 1e-8) (differences f p) (doubles predicted.grad)
                    Expect.isNull truth.grad "truth"
            }

            test "a right prediction costs nothing and has a finite gradient" {
                use scope = torch.NewDisposeScope()

                for loss in
                    [
                        (fun (p, x) -> FrameLoss.Squared(p, x))
                        (fun (p, x) -> FrameLoss.Absolute(p, x))
                    ] do
                    for level in [ 0.; 3. ] do
                        let same = tensor [| 2L; 1L; 2L; 2L |] (Array.create 8 level)
                        let leaf = same.clone().requires_grad_()
                        let l = loss (leaf, same)
                        l.backward ()
                        Expect.equal (scalar l) 0. "loss"
                        Expect.allEqual (doubles leaf.grad) 0. "gradient"
            }

            test "errors say what was wrong" {
                use scope = torch.NewDisposeScope()
                let t (shape: int64[]) = torch.zeros shape

                Expect.stringContains
                    (message (fun () -> FrameLoss.Squared(t [| 2L; 3L; 4L; 4L |], t [| 2L; 3L; 4L; 5L |])))
                    "received (2, 3, 4, 4) and (2, 3, 4, 5)"
                    "shapes"

                Expect.stringContains
                    (message (fun () -> FrameLoss.Absolute(t [| 4L; 4L |], t [| 4L; 4L |])))
                    "(…, C, H, W)"
                    "no frames"
            }
        ]

/// Where the documents' BYOL is wrong, beside ours.
module Tests.Core.ErrataByolTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Networks

let private leaf seed shape =
    (GoldenLoss.arbitrary seed shape ||> tensor).requires_grad_()

let private cosine (a: torch.Tensor) (b: torch.Tensor) =
    let unit (x: torch.Tensor) =
        torch.nn.functional.normalize (x, 2., 1L)

    (unit a * unit b).sum([| 1L |]).mean()

/// Gradient with respect to the first prediction.
let private gradient (loss: torch.Tensor -> torch.Tensor -> torch.Tensor -> torch.Tensor -> torch.Tensor) =
    let p1, p2, z1, z2 = leaf 1. [ 6L; 5L ], leaf 2. [ 6L; 5L ], leaf 3. [ 6L; 5L ], leaf 4. [ 6L; 5L ]
    (loss p1 p2 (z1.detach ()) (z2.detach ())).backward()
    doubles p1.grad

[<Tests>]
let tests =
    testList
        "errata byol"
        [
            test "erratum 4: a prediction of 128 dimensions has no distance from a target of 256" {
                use scope = torch.NewDisposeScope()
                let prediction, target = torch.rand (4L, 128L), torch.rand (4L, 256L)

                Expect.throws (fun () -> cosine prediction target |> ignore) "the documents' version cannot be computed"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () -> NegativeCosine.Squares(prediction, target)))
                    "a prediction is as long as its target"
                    "ours says what is wrong"

                for outputs in [ 128; 256 ] do
                    use method =
                        new Byol(
                            resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar,
                            ByolOptions(
                                MlpProjection([ 8 ], outputs, false, true, true, OutputNorm.None),
                                Nullable 16,
                                0.99,
                                1.,
                                ByolForm.SquaresSummed
                            )
                        )

                    method.Initialise 1UL
                    let context = StepContext(0UL, 0L, 1L, 0)
                    let output = method.Forward(TwoViews(torch.rand (8L, 3L, 8L, 8L)), &context)
                    Expect.isTrue (Double.IsFinite(Array.head (doubles output.Loss))) $"a target of {outputs}"
            }

            test "erratum 4: the documents' two symmetric losses differ by a factor, ours are named" {
                use scope = torch.NewDisposeScope()
                let squares p z = 2. - 2. * cosine p z
                let summed = gradient (fun p1 p2 z1 z2 -> squares p1 z2 + squares p2 z1)
                let averaged = gradient (fun p1 p2 z1 z2 -> (squares p1 z2 + squares p2 z1) / 2.)
                let cosines = gradient (fun p1 p2 z1 z2 -> -(cosine p1 z2 + cosine p2 z1) / 2.)

                let ours = gradient (fun p1 p2 z1 z2 -> NegativeCosine.SymmetricSquares(p1, p2, z1, z2))
                let oursHalved = gradient (fun p1 p2 z1 z2 -> NegativeCosine.Symmetric(p1, p2, z1, z2))

                summed
                |> Array.iteri (fun i g ->
                    Expect.floatClose Accuracy.high averaged[i] (g / 2.) "averaging squares halves the step"
                    Expect.floatClose Accuracy.high cosines[i] (g / 4.) "cosines halve it again"
                    Expect.floatClose Accuracy.high ours[i] g "SquaresSummed is the paper's"
                    Expect.floatClose Accuracy.high oursHalved[i] (g / 4.) "CosinesAveraged is a quarter of it")
            }
        ]

module Tests.Core.ReconstructionQualityTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Evaluation
open Tests.Support
open Tests.Support.Networks

let private normalisation = ChannelNormalisation([| 0.5f; 0.4f; 0.3f |], [| 0.25f; 0.2f; 0.5f |])

let private close what = Golden.agrees what 1e-6 1e-12

/// Values from 0 to 1 without structure.
let private pixels seed count =
    Array.init count (fun i -> 0.5 + 0.5 * sin (seed + 1.7 * float i + 0.013 * float (i * i)))

/// What stands at (…, channel, y, x) of pixels, normalised; `area` = H·W.
let private normalised area (values: float[]) =
    values
    |> Array.mapi (fun i v ->
        let c = i / area % 3
        (v - float normalisation.Mean[c]) / float normalisation.Std[c])

/// Loop by loop, on pixels.
let private naive images (truth: float[]) (made: float[]) =
    Array.map2 (fun t m -> (t - Math.Clamp(m, 0., 1.)) ** 2.) truth made
    |> Array.splitInto images
    |> Array.map Array.average

let private errors (shape: int64[]) area (truth: float[]) (made: float[]) dtype =
    use scope = torch.NewDisposeScope()

    let at values =
        (tensor shape (normalised area values)).``to``(dtype: torch.ScalarType)

    ReconstructionQuality.SquaredErrors(at truth, at made, normalisation)

[<Tests>]
let tests =
    testList
        "reconstruction quality"
        [
            test "squared errors are those of pixels, loop by loop" {
                for shape, area in
                    [
                        [| 4L; 3L; 5L; 6L |], 30
                        [| 1L; 3L; 1L; 1L |], 1
                        [| 2L; 4L; 3L; 2L; 3L |], 6
                    ] do
                    let count = Array.reduce (*) shape |> int
                    let truth = pixels 1. count
                    // Beyond both ends of the range, too.
                    let made = pixels 5. count |> Array.map (fun v -> 1.6 * v - 0.3)
                    let expected = naive (int shape[0]) truth made

                    for dtype, tolerance in [ torch.float64, 1e-9; torch.float32, 1e-5 ] do
                        let got = errors shape area truth made dtype
                        Expect.equal got.Length (int shape[0]) "one an image"

                        Array.iter2
                            (fun e g -> Expect.isTrue (Golden.close tolerance 1e-9 e g) $"{e} against {g}")
                            expected
                            got
            }

            test "known values" {
                close "a tenth" 20. (ReconstructionQuality.Psnr 0.01)
                close "half" 6.020599913 (ReconstructionQuality.Psnr 0.25)
                close "one 8-bit step" 48.13080361 (ReconstructionQuality.Psnr(1. / (255. * 255.)))
                Expect.equal (ReconstructionQuality.Psnr 0.) infinity "equal"
                close "mean of ratios" 30. (ReconstructionQuality.MeanPsnr [| 0.01; 0.0001 |])

                Expect.isLessThan
                    (ReconstructionQuality.Psnr((0.01 + 0.0001) / 2.))
                    30.
                    "and not the ratio of the mean error"
            }

            test "equal images have no error, whatever the normalisation" {
                let shape = [| 3L; 3L; 4L; 4L |]
                let truth = pixels 2. 144
                Expect.all (errors shape 16 truth truth torch.float64) (fun e -> e < 1e-28) "equal"
                let black, white = Array.zeroCreate<float> 144, Array.create 144 1.
                Expect.all (errors shape 16 black white torch.float32) (fun e -> abs (e - 1.) < 1e-6) "as far as can be"
            }

            test "a shift of one channel counts as much as its deviation" {
                use scope = torch.NewDisposeScope()
                let images = torch.full ([| 2L; 3L; 2L; 2L |], (0.1).ToScalar(), dtype = torch.float32)
                let other = images.clone ()
                other.narrow(1L, 1L, 1L).add_((0.5).ToScalar()) |> ignore
                let got = ReconstructionQuality.SquaredErrors(images, other, normalisation)
                // Half a deviation of 0.2 in one channel of three.
                Expect.all got (fun e -> abs (e - 0.1 * 0.1 / 3.) < 1e-7) "pixel units"
            }

            test "other shapes and channels are refused, inputs stay as they are, and nothing is left behind" {
                use a = torch.rand (2L, 3L, 4L, 4L)
                use b = torch.rand (2L, 3L, 4L, 5L)
                use gray = torch.rand (2L, 1L, 4L, 4L)
                use flat = torch.rand (3L, 4L, 4L)

                let refused part (f: unit -> float[]) =
                    try
                        f () |> ignore
                        failtest "accepted"
                    with :? ArgumentException as e ->
                        Expect.stringContains e.Message part part

                refused "received (2, 3, 4, 4) and (2, 3, 4, 5)" (fun () ->
                    ReconstructionQuality.SquaredErrors(a, b, normalisation))

                refused "expected two times (N, …, C, H, W)" (fun () ->
                    ReconstructionQuality.SquaredErrors(flat, flat, normalisation))

                refused "3 means and 3 stds for images of 1 channels" (fun () ->
                    ReconstructionQuality.SquaredErrors(gray, gray, normalisation))

                Expect.throwsT<ArgumentException> (fun () -> ReconstructionQuality.MeanPsnr [||] |> ignore) "no images"

                Expect.throwsT<ArgumentOutOfRangeException>
                    (fun () -> ReconstructionQuality.Psnr(-0.1) |> ignore)
                    "negative"

                use copy = a.clone ()
                let before = LiveTensors.settled ()

                for _ in 1..3 do
                    ReconstructionQuality.SquaredErrors(a, a, normalisation) |> ignore

                Expect.equal torch.Tensor.TotalCount before "live tensors"
                Expect.isTrue (a.eq(copy).all().item<bool>()) "unchanged"
            }
        ]

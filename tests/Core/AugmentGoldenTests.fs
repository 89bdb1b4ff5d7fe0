/// Reference values of image operations (tests/Conformance/images.json): the float path of torchvision's tensor backend,
/// Pillow's Gaussian blur, and the uint8 results of the tensor backend after rounding.
module Tests.Core.AugmentGoldenTests

open System
open System.Security.Cryptography
open Expecto
open SslResearch.Core.Augment
open SslResearch.Core.Data
open Tests.Support

let private height, width = 32, 40

let private image =
    Array.init (height * width * 3) (fun n ->
        let k, x, y = n % 3, n / 3 % width, n / 3 / width
        let u = (9 * x + 5 * y + 37 * k + x * y) % 510
        byte (if u <= 255 then u else 510 - u))

let private unit = ChannelNormalisation([| 0f; 0f; 0f |], [| 1f; 1f; 1f |])

let private integer (name: string) (e: Text.Json.JsonElement) =
    e.GetProperty("params").GetProperty(name).GetInt32()

let private number (name: string) (e: Text.Json.JsonElement) =
    e.GetProperty("params").GetProperty(name).GetDouble()

/// The view of the image under these operations and draws, values in [0, 1] unless they may overshoot, (C, h, w).
let private render scalar overshoot (steps: (ViewOp * OpDraw) list) =
    let ops = steps |> List.map fst |> List.toArray

    let pipeline =
        ViewPipeline(ImageShape(height, width, 3), ops, unit, Scalar = scalar, KeepsOvershoot = overshoot)

    let mutable parameters = ViewParameters(Count = ops.Length)
    steps |> List.iteri (fun i (_, d) -> parameters[i] <- d)
    let view = Array.zeroCreate<float32> pipeline.OutputFloats
    pipeline.Render(ReadOnlySpan image, &parameters, Span view)
    pipeline.Output, view

let private cropOp h w mode =
    ResizedCrop(0.1, 1., 0.5, 2., h, w, mode) :> ViewOp

let private on = OpDraw(Applied = true)

let private box top left h w =
    OpDraw(Applied = true, Top = top, Left = left, Height = h, Width = w)

let private mode (e: Text.Json.JsonElement) =
    match Golden.tryProp "interpolation" (e.GetProperty "params") with
    | Some m when m.GetString() = "bicubic" -> Interpolation.Bicubic
    | _ -> Interpolation.Bilinear

let private jitter b c s h = Jitter(b, c, s, h, 1.) :> ViewOp

let private single step factor =
    let draw =
        OpDraw(
            Applied = true,
            Order = 0x3210,
            Brightness = factor,
            Contrast = factor,
            Saturation = factor,
            Hue = factor
        )

    match step with
    | "brightness" -> [ jitter 1. 0. 0. 0., draw ]
    | "contrast" -> [ jitter 0. 1. 0. 0., draw ]
    | "saturation" -> [ jitter 0. 0. 1. 0., draw ]
    | _ -> [ jitter 0. 0. 0. 0.5, draw ]

/// The entry as operations of ours; None for what is not built.
let private steps (e: Text.Json.JsonElement) : (ViewOp * OpDraw) list option =
    let size () =
        let s = Golden.ints (e.GetProperty("params").GetProperty "size")
        s[0], s[1]

    let cropped () =
        let h, w = size ()

        [
            cropOp h w (mode e), box (integer "top" e) (integer "left" e) (integer "height" e) (integer "width" e)
        ]

    match (Golden.id e).Split '.' with
    | [| "crop_resize"; "bilinear_no_antialias" |] -> None
    | [| "crop_resize"; _ |]
    | [| "crop_resize_up"; _ |] -> Some(cropped ())
    | [| "resize_down"; _ |] ->
        let h, w = size ()
        Some [ cropOp h w (mode e), box 0 0 height width ]
    | [| "hflip" |] -> Some [ Flip 1., on ]
    | [| "vflip" |] -> Some [ VerticalFlip 1., on ]
    | [| ("brightness" | "contrast" | "saturation" | "hue") as step; _; _ |] ->
        Some(single step (float32 (number "factor" e)))
    | [| ("brightness" | "contrast" | "saturation" | "hue") as step; _ |] ->
        Some(single step (float32 (number "factor" e)))
    | [| "grayscale3" |] -> Some [ Gray 1., on ]
    | a when a[0] = "gaussian_blur" ->
        let taps = (Golden.ints (e.GetProperty("params").GetProperty "kernel_size"))[0]
        let sigma = (Golden.floats (e.GetProperty("params").GetProperty "sigma"))[0]

        Some
            [
                KernelBlur(taps, sigma, sigma, 1.), OpDraw(Applied = true, Sigma = float32 sigma)
            ]
    | a when a[0] = "pil_gaussian_blur" ->
        Some
            [
                Blur(0.1, 2., 1.), OpDraw(Applied = true, Sigma = float32 (number "radius" e))
            ]
    | [| "solarize"; _ |] -> Some [ Solarize(integer "threshold" e, 1.), on ]
    | [| "rotate"; _ |] ->
        let box = box (integer "top" e) (integer "left" e) (integer "height" e) (integer "width" e)

        Some
            [
                cropOp 32 32 Interpolation.Bilinear, box
                Rotate90 1., OpDraw(Applied = true, Turns = integer "k" e)
            ]
    | [| "pipeline" |] ->
        Some(
            cropped ()
            @ [
                Flip 1., on
                jitter 1. 1. 1. 0.5,
                OpDraw(
                    Applied = true,
                    Order = 0x3210,
                    Brightness = float32 (number "brightness" e),
                    Contrast = float32 (number "contrast" e),
                    Saturation = float32 (number "saturation" e),
                    Hue = float32 (number "hue" e)
                )
            ]
        )
    | _ -> None

/// Bytes in (row, column, channel) order, rounded as the tensor backend rounds.
let private toBytes (shape: ImageShape) (view: float32[]) =
    let plane = shape.Height * shape.Width
    Array.init view.Length (fun n -> int (Math.Clamp(MathF.Round(255f * view[n % 3 * plane + n / 3]), 0f, 255f)))

let private checkFloat (e: Text.Json.JsonElement) (view: float32[]) =
    let name = Golden.id e
    let reference = e.GetProperty("expected").GetProperty "tensor_float"

    let bound (part: string) =
        e.GetProperty("tolerance").GetProperty("tensor_float").GetProperty(part).GetDouble()

    let close what expected got =
        Golden.agrees $"{name} {what}" (bound "rtol") (bound "atol") expected got

    let view = view |> Array.map float

    Golden.floats (reference.GetProperty "first12")
    |> Array.iteri (fun i v -> close $"element {i}" v view[i])

    Golden.floats (reference.GetProperty "every97")
    |> Array.iteri (fun i v -> close $"element {97 * i}" v view[97 * i])

    close "sum" (reference.GetProperty("sum").GetDouble()) (Array.sum view)
    close "sum of squares" (reference.GetProperty("sumsq").GetDouble()) (Array.sumBy (fun v -> v * v) view)

let private checkBytes name (expected: int[]) tolerance (got: int[]) =
    Expect.equal got.Length expected.Length $"{name}: size"
    let worst = Array.map2 (fun a b -> abs (a - b)) expected got |> Array.max
    Expect.isLessThanOrEqual worst tolerance $"{name}: largest difference from the reference's bytes"

let private covered = Golden.choose "images" (fun e -> steps e |> Option.map (fun s -> e, s))

[<Tests>]
let tests =
    testList
        "augment goldens"
        [
            test "the formula gives the reference image" {
                let hash = Convert.ToHexStringLower(SHA256.HashData image)
                Expect.equal hash "c5aa9f96648d53913ffd38b601feef770beb4d35a1b0fe89649d7f6ca47fa241" "hash"
            }

            test "all entries that concern these operations are used" {
                let left = set (Golden.ids "images") - set (covered |> List.map (fst >> Golden.id))

                let expected =
                    set
                        [
                            "crop_resize.bilinear_no_antialias"
                            "resize_shorter_center_crop"
                            "equalize"
                            "posterize.4"
                            "autocontrast"
                            "invert"
                            "pad4_crop"
                            "pad4_reflect"
                            "normalize.cifar10"
                            "normalize.imagenet"
                        ]

                Expect.equal left expected "not covered here"
            }

            for scalar in [ false; true ] do
                for e, steps in covered do
                    test $"""{Golden.id e} {if scalar then "scalar" else "vector"}""" {
                        let name = Golden.id e
                        let expected = e.GetProperty "expected"
                        let tolerance = e.GetProperty "tolerance"
                        let shape, view = render scalar false steps

                        // The reference keeps what bicubic resampling overshoots; that it is cut, the bytes show.
                        match Golden.tryProp "tensor_float" expected with
                        | Some _ -> checkFloat e (render scalar true steps |> snd)
                        | None -> ()

                        // A pipeline of ours follows neither backend: both round after every step.
                        match Golden.tryProp "tensor" expected, Golden.tryProp "tensor_float" expected with
                        | Some bytes, _ when name <> "pipeline" ->
                            let most = tolerance.GetProperty("same_backend_max_abs").GetInt32()
                            checkBytes name (Golden.ints bytes) most (toBytes shape view)
                        | _ ->
                            let most = tolerance.GetProperty("any_backend_max_abs").GetInt32()
                            checkBytes name (Golden.ints (expected.GetProperty "pil")) most (toBytes shape view)
                    }

            for name in [ "normalize.cifar10"; "normalize.imagenet" ] do
                test name {
                    let e = Golden.entry "images" name

                    let values (p: string) =
                        Golden.floats (e.GetProperty("params").GetProperty p) |> Array.map float32

                    let pipeline =
                        ViewPipeline(
                            ImageShape(height, width, 3),
                            [||],
                            ChannelNormalisation(values "mean", values "std")
                        )

                    let mutable parameters = pipeline.Draw(0UL, 0, 0L, 0)
                    let view = Array.zeroCreate<float32> pipeline.OutputFloats
                    pipeline.Render(ReadOnlySpan image, &parameters, Span view)
                    checkFloat e view
                }
        ]

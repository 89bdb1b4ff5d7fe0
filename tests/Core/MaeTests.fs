module Tests.Core.MaeTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.PatchViews
open Tests.Support.Networks
open Tests.Support.ReferenceModels
open Tests.Support.Numbers
open Tests.Support.Refusals

let private build (v: Vit) = (v :> IBackbone).Build 3

let private tiny =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
        Heads = 3
    }

let private options normalise =
    MaeOptions(MaeDecoderOptions(16, 2, 2, 4., 1e-6), normalise)

/// In double precision.
let private mae (v: Vit) normalise =
    let method = new Mae(build v, options normalise)
    method.Initialise 3UL
    lively method
    method

// ---- reference values

let private golden double =
    use scope = torch.NewDisposeScope()
    let e = Golden.entry "models" "mae"
    let expected = e.GetProperty "expected"
    let dtype = if double then torch.float64 else torch.float32

    // The tables of positions are made in float32.
    let bound (name: string) =
        if double then
            1e-6
        else
            e.GetProperty("tolerance").GetProperty("f32").GetProperty("relative_norm").GetProperty(name).GetDouble()

    let x = (Golden.input "x" e ||> tensor).``to``(dtype: torch.ScalarType)
    let order = (Golden.input "noise" e ||> tensor).argsort(1, false)
    let views = MaskedView(x, order, 4)

    for image, row in Seq.indexed (expected.GetProperty("mask").EnumerateArray()) do
        let hidden = order[int64 image].data<int64>().ToArray() |> Array.skip 4

        Golden.ints row
        |> Array.iteri (fun p m -> Expect.equal (Array.contains (int64 p) hidden) (m = 1) $"image {image}, patch {p}")

    for normalise, name in [ true, "loss"; false, "loss_without_norm_pix" ] do
        use method =
            new Mae(
                build
                    { VitTiny 16 4 with
                        Width = 32
                        Depth = 2
                        Heads = 4
                        Positions = VitPositions.SinCos
                    },
                MaeOptions(MaeDecoderOptions(16, 1, 2, 4., 1e-6), normalise)
            )

        let encoder, decoder = part<VisionTransformer> method "encoder", part<MaeDecoder> method "decoder"
        encoder.``to`` dtype |> ignore
        decoder.``to`` dtype |> ignore
        let own = parameters encoder |> List.map fst |> Set.ofList
        load e (fun name -> if own.Contains name then Some name else None) encoder

        load
            e
            (fun name ->
                if name = "mask_token" then Some name
                elif name = "decoder_pos_embed" then None
                elif name.StartsWith "decoder_" then Some(name.Substring 8)
                else None)
            decoder

        // The stated number counts both tables of positions, with a row for CLS.
        Expect.equal
            (count encoder + count decoder + 17L * (32L + 16L))
            (expected.GetProperty("parameter_count").GetInt64())
            "parameters"

        let loss = (forward method views).Loss
        close name (bound name) (expected.GetProperty(name).GetDouble()) (scalar loss)

        if normalise then
            loss.backward ()
            let gradients = max (bound "grad_patch_proj") 1e-5

            let grad (m: torch.nn.Module) name =
                doubles (parameters m |> List.find (fst >> (=) name) |> snd).grad

            agrees "mask token" gradients (expected.GetProperty "grad_mask_token") (grad decoder "mask_token")

            agrees
                "projection"
                gradients
                (expected.GetProperty "grad_patch_proj")
                (grad encoder "patch_embed.proj.weight")

            let visible = order.narrow(1, 0, 4).unsqueeze(-1).expand(-1L, -1L, 32L)
            let latent = encoder.Norm(encoder.Blocks(encoder.Sequence((encoder.Embed x).gather(1, visible))))
            agrees "latent" (bound "latent") (expected.GetProperty "latent") (doubles latent)
            let all = decoder.Values((decoder.Decode(latent, order, struct (4, 4))).narrow(1, 1, 16))
            let back = order.argsort(1, false).unsqueeze(-1).expand(-1L, -1L, 48L)
            agrees "prediction" (bound "pred") (expected.GetProperty "pred") (doubles (all.gather (1, back)))

let private references =
    testList
        "reference values"
        [
            test "the authors' model, float64" { golden true }
            test "the authors' model, float32" { golden false }

            test "the paper's base model has the authors' parameters" {
                let expected =
                    (Golden.entry "models" "parameter_counts")
                        .GetProperty("expected")
                        .GetProperty("mae_vit_base_patch16_dec512d8b")
                        .GetInt64()

                use method =
                    (SslResearch.Mae.Default :> IMethod<MaskedView>).Build
                        {
                            Image = SslResearch.Core.Data.ImageShape(224, 224, 3)
                            Classes = 10
                            Normalisation = (Data.constants Cifar10).Value
                            Encoder =
                                build
                                    { VitBase 224 16 with
                                        Positions = VitPositions.SinCos
                                    }
                            Seed = 1UL
                            Device = torch.CPU
                            BatchSize = 1
                            Trained = fun _ -> failwith "no other run"
                        }

                let own = method.Trained |> Seq.sumBy (fun (struct (_, m)) -> count m)
                Expect.equal (own + 197L * (768L + 512L)) expected "parameters, tables of positions counted"
            }
        ]

// ---- the paper's steps, one image and one token at a time

/// Predictions of the hidden patches of one image, with every token put back in its place before the decoder.
let private naive (method: Mae) (image: torch.Tensor) (order: int[]) visible =
    let encoder, decoder = part<VisionTransformer> method "encoder", part<MaeDecoder> method "decoder"
    let registers = encoder.Options.Registers
    let embedded = encoder.Embed image
    let token (rows: torch.Tensor) p = rows.narrow (1, int64 p, 1L)

    let seen =
        encoder.Norm(
            encoder.Blocks(encoder.Sequence(torch.cat ([| for p in order[.. visible - 1] -> token embedded p |], 1L)))
        )

    let layers = dict [ for struct (name, m) in decoder.named_modules () -> name, m ]

    let layer name =
        layers[name] :?> torch.nn.Module<torch.Tensor, torch.Tensor>

    let mask = parameters decoder |> List.find (fst >> (=) "mask_token") |> snd

    let rows, columns =
        int image.shape[2] / encoder.Options.Patch, int image.shape[3] / encoder.Options.Patch

    let table =
        (PositionTable.SinCos(rows, columns, int mask.shape[2])).``to``(image.dtype: torch.ScalarType)

    let places =
        [|
            for p in 0 .. order.Length - 1 ->
                let rank = Array.IndexOf(order, p)

                let content =
                    if rank < visible then
                        (layer "embed").call(token seen (1 + registers + rank))
                    else
                        mask

                content.add (token table p)
        |]

    let mutable x = torch.cat ([| (layer "embed").call(token seen 0); yield! places |], 1L)

    for i in 0..1 do
        x <- (layer $"blocks.{i}").call x

    let out = (layer "pred").call((layer "norm").call x)
    [| for p in order[visible..] -> doubles (token out (1 + p)) |]

let private naiveNormalised (patch: float[]) =
    let mean = Array.average patch
    let variance = (patch |> Array.sumBy (fun v -> (v - mean) ** 2.)) / float (patch.Length - 1)
    patch |> Array.map (fun v -> (v - mean) / sqrt (variance + 1e-6))

let private laws =
    testList
        "laws"
        [
            test "it is the paper's model, token by token" {
                for vit, normalise, visible in
                    [
                        tiny, true, 4
                        tiny, false, 1
                        { tiny with Registers = 2 }, true, 15
                        { tiny with
                            Positions = VitPositions.SinCos
                        },
                        true,
                        5
                    ] do
                    use scope = torch.NewDisposeScope()
                    use method = mae vit normalise
                    let x = images 3 16
                    let rows = orders 3 16
                    let output = forward method (MaskedView(x, indices rows, visible))

                    let errors =
                        [|
                            for n in 0..2 do
                                let predicted = naive method (x.narrow (0, int64 n, 1L)) rows[n] visible

                                for rank in visible..15 do
                                    let patch = patchOf 4 x n (rows[n][rank])
                                    let target = if normalise then naiveNormalised patch else patch

                                    Array.map2 (fun a b -> (a - b) ** 2.) predicted[rank - visible] target
                                    |> Array.average
                        |]

                    // The tables of positions are made in float32 and then widened, here as there.
                    close "loss" 1e-10 (Array.average errors) (scalar output.Loss)
                    Expect.equal output.Embedding.shape [| 3L; 24L |] "embedding"
                    Expect.isNull (box output.Assignment) "no assignment"
            }

            test "the encoder sees nothing of hidden patches, and everything of visible ones" {
                use scope = torch.NewDisposeScope()
                use method = mae tiny true
                let x, rows = images 2 16, orders 2 16

                let said x =
                    doubles (forward method (MaskedView(x, indices rows, 4))).Embedding

                let hidden n p = Array.IndexOf(rows[n], p) >= 4
                Expect.equal (said (changed 4 hidden x)) (said x) "hidden pixels changed"

                for rank in 0..3 do
                    let one n p = rows[n][rank] = p
                    Expect.notEqual (said (changed 4 one x)) (said x) $"visible patch {rank} changed"
            }

            test "only hidden patches cost" {
                use scope = torch.NewDisposeScope()
                use method = mae tiny false
                let x, rows = images 2 16, orders 2 16

                let loss x =
                    scalar (forward method (MaskedView(x, indices rows, 4))).Loss

                // What is predicted, from the picture: input where visible.
                let picture = (picture method (MaskedView(x, indices rows, 4))).Images
                let shown = picture.select (1, 2L)

                let expected =
                    Array.average
                        [|
                            for n in 0..1 do
                                for p in rows[n][4..] do
                                    Array.map2 (fun a b -> (a - b) ** 2.) (patchOf 4 shown n p) (patchOf 4 x n p)
                                    |> Array.average
                        |]

                close "loss" 1e-10 expected (loss x)
            }

            test "the order within the visible and within the hidden patches does not matter" {
                use scope = torch.NewDisposeScope()
                use method = mae tiny true
                let x, rows = images 3 16, orders 3 16

                let loss rows =
                    scalar (forward method (MaskedView(x, indices rows, 6))).Loss

                let moved =
                    rows
                    |> Array.map (fun r -> Array.append (Array.rev r[..5]) (Array.append r[10..] r[6..9]))

                close "loss" 1e-10 (loss rows) (loss moved)
            }

            test "CLS, registers and mask token learn, and views of other sizes are taken" {
                for vit, side in
                    [
                        tiny, 16
                        { tiny with Registers = 2 }, 16
                        tiny, 12
                        { tiny with Depth = 1 }, 24
                    ] do
                    use scope = torch.NewDisposeScope()
                    use method = mae vit true
                    let patches = side * side / 16
                    (forward method (MaskedView(images 2 side, indices (orders 2 patches), 3))).Loss.backward()

                    for struct (prefix, m) in method.Trained do
                        for name, p in parameters m do
                            Expect.isGreaterThan
                                (Array.sumBy abs (doubles p.grad))
                                0.
                                $"{prefix}.{name} at {side} pixels"
            }

            test "levels" {
                use normalised = mae tiny true
                Expect.equal (normalised.Levels 8) (LossLevels(1. - 1. / 48., Nullable())) "normalised"
                use pixels = mae tiny false
                Expect.equal (pixels.Levels 8) (LossLevels(Nullable(), Nullable())) "pixels"
            }

            test "problems of its settings are found before anything runs" {
                let problems (decoder: SslResearch.MaeDecoder -> SslResearch.MaeDecoder) =
                    let start = SslResearch.Mae.CpuCifar

                    let method =
                        { start with
                            Decoder = decoder start.Decoder
                        }

                    (method :> IMethod<MaskedView>).Problems |> List.map string

                Expect.isEmpty (problems id) "as it is"

                for text, decoder in
                    [
                        "Decoder.Width: 66 channels",
                        (fun (d: SslResearch.MaeDecoder) -> { d with Width = 66; Heads = 2 })
                        "Decoder.Width: 0.", (fun d -> { d with Width = 0 })
                        "Decoder.Depth: 0", (fun d -> { d with Depth = 0 })
                        "Decoder.Heads: 5 heads in a width of 64", (fun d -> { d with Heads = 5 })
                        "Decoder.MlpRatio: NaN", (fun d -> { d with MlpRatio = nan })
                        "Decoder.NormEpsilon: 0", (fun d -> { d with NormEpsilon = 0. })
                    ] do
                    Expect.stringContains (problems decoder |> String.concat "\n") text text
            }

            test "what does not fit is refused" {
                use scope = torch.NewDisposeScope()
                refused "takes a vision transformer; received ResNet" (fun () -> new Mae(preset (), options true))

                let decoder width depth =
                    MaeOptions(MaeDecoderOptions(width, depth, 1, 4., 1e-6), true)

                refused "at least one block" (fun () -> new Mae(build tiny, decoder 16 0))
                refused "divisible by 4" (fun () -> new Mae(build tiny, decoder 18 1))
                use method = mae tiny true

                let run side patches visible =
                    forward method (MaskedView(images 2 side, indices (orders 2 patches), visible))

                refused "patches of 8 pixels, but the encoder's are of 4" (fun () -> run 16 4 2)
                refused "15 patches are no squares that cover views of 16×16" (fun () -> run 16 15 2)
                refused "None of the 16 patches is hidden" (fun () -> run 16 16 16)
                refused "All 16 patches are hidden" (fun () -> run 16 16 0)
            }
        ]

// ---- pictures

let private pictures =
    testList
        "pictures"
        [
            test "input, masked, reconstruction; visible patches are the input's" {
                for normalise in [ true; false ] do
                    use scope = torch.NewDisposeScope()
                    use method = mae tiny normalise
                    let x, rows = images 2 16, orders 2 16
                    let shown = picture method (MaskedView(x, indices rows, 5))
                    Expect.equal (List.ofSeq shown.Columns) [ "input"; "masked"; "reconstruction" ] "columns"
                    Expect.equal shown.Images.shape [| 2L; 3L; 3L; 16L; 16L |] "rows, columns, image"
                    let column i = shown.Images.select (1, int64 i)
                    Expect.equal (doubles (column 0)) (doubles x) "input"

                    for n in 0..1 do
                        let predicted = naive method (x.narrow (0, int64 n, 1L)) rows[n] 5

                        for rank, p in Array.indexed rows[n] do
                            let input, masked, made =
                                patchOf 4 x n p, patchOf 4 (column 1) n p, patchOf 4 (column 2) n p

                            if rank < 5 then
                                Expect.equal (masked, made) (input, input) "visible"
                            else
                                Expect.all masked ((=) 0.) "hidden"

                                let mean = Array.average input

                                let deviation = sqrt ((input |> Array.sumBy (fun v -> (v - mean) ** 2.)) / 47. + 1e-6)

                                let expected =
                                    predicted[rank - 5]
                                    |> Array.map (fun v -> if normalise then v * deviation + mean else v)

                                Array.iter2 (close "reconstruction" 1e-9) expected made
            }

            test "the networks are as they were, and no tensors are left" {
                let x, rows = images 2 16, orders 2 16
                use views = indices rows
                use method = mae { tiny with DropPath = 0.5 } true

                for struct (_, m) in method.Trained do
                    m.train ()

                (part<MaeDecoder> method "decoder").eval()

                let draw () =
                    use scope = torch.NewDisposeScope()
                    let first = doubles (picture method (MaskedView(x, views, 5))).Images
                    let again = doubles (picture method (MaskedView(x, views, 5))).Images
                    Expect.equal again first "nothing is drawn by chance"

                draw ()
                let before = LiveTensors.settled ()
                draw ()
                Expect.equal torch.Tensor.TotalCount before "live tensors"
                Expect.isTrue (part<VisionTransformer> method "encoder").training "encoder"
                Expect.isFalse (part<MaeDecoder> method "decoder").training "decoder"
                x.Dispose()
            }
        ]

[<Tests>]
let tests = testList "MAE" [ references; laws; pictures ]

/// What is particular to the discrete autoencoder, beside the laws of the kit.
module Tests.Core.DvaeTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private cpu = torch.device "cpu"
let private mean, private std = [| 0.49; 0.48; 0.45 |], [| 0.25; 0.24; 0.26 |]

let private vocabulary = 12

let private options =
    DvaeOptions(
        vocabulary,
        5,
        [| 8; 6; 4 |],
        1,
        true,
        PixelLikelihood.SquaredError,
        1.,
        0.25,
        0.5,
        0.1,
        0.2,
        struct (3, 8, 8),
        mean,
        std
    )

let private likelihood =
    DvaeOptions(
        vocabulary,
        5,
        [| 8; 6; 4 |],
        2,
        false,
        PixelLikelihood.LogitLaplace,
        1.,
        0.25,
        0.5,
        0.1,
        0.2,
        struct (3, 8, 8),
        mean,
        std
    )

let private encoder () =
    resnet ResidualBlock.Basic [ 1; 1 ] 8 Stem.CifarStride2

let private built (options: DvaeOptions) =
    let method = new Dvae(encoder (), options, cpu)
    method.Initialise 3UL
    method

let private part (method: Dvae) index : torch.nn.Module =
    let struct (_, m) = method.Trained[index]
    m

let private head method = part method 1 :?> TokenHead
let private decoder method = part method 2 :?> TokenDecoder

let private images seed (n: int64) (side: int64) =
    use scope = torch.NewDisposeScope()
    use _ = torch.manual_seed seed
    // Patches that differ in brightness and colour, with some noise.
    let coarse = torch.randn (n, 3L, side / 4L, side / 4L)

    coarse
        .reshape(n, 3L, side / 4L, 1L, side / 4L, 1L)
        .expand(n, 3L, side / 4L, 4L, side / 4L, 4L)
        .reshape(n, 3L, side, side)
        .add(torch.randn(n, 3L, side, side).mul((0.1).ToScalar()))
        .MoveToOuterDisposeScope()

let private constant (values: float[]) =
    (tensor [| 1L; 3L; 1L; 1L |] values).``to`` torch.float32

[<Tests>]
let tests =
    testList
        "dvae"
        [
            test "the loss is the error of mixed words plus the weighted divergence, as its parts give them" {
                for options, name in [ options, "squared error"; likelihood, "logit-Laplace" ] do
                    for step in [ 0L; 10L; 25L; 80L ] do
                        use scope = torch.NewDisposeScope()
                        use method = built options
                        let x = images 1L 6L 8L
                        let context = StepContext(7UL, step, 100L, 0)
                        use _ = torch.manual_seed 5L
                        let output = method.Forward(OneView x, &context)

                        let map = method.Encoder.Map x
                        let logits = (head method).call map
                        use _ = torch.manual_seed 5L
                        let noise = GumbelSoftmax.Noise logits
                        let temperature = GumbelSoftmax.Temperature(1., 0.25, 50L, step)
                        let words = GumbelSoftmax.Relax(logits, noise, temperature)
                        let d = decoder method
                        let drawn = d.Draw(d.Mix words, 2, 2)

                        let error =
                            match options.Pixels with
                            | PixelLikelihood.SquaredError -> scalar (drawn.sub(x).square().mean())
                            | _ ->
                                let pixels = x.mul(constant std).add(constant mean)
                                let location, logScale = drawn.narrow (1L, 0L, 3L), drawn.narrow (1L, 3L, 3L)
                                scalar (LogitLaplace.Loss(location, logScale, pixels))

                        let weight = UniformDivergence.Weight(0.1, 20L, step)
                        let expected = error + weight * scalar (UniformDivergence.Mean logits)
                        close $"{name}, step {step}" 1e-4 expected (scalar output.Loss)
                        Expect.equal output.Embedding.shape [| 6L; 16L |] "pooled features"
                        Expect.isTrue (torch.allclose (output.Embedding, map.mean ([| 2L; 3L |]), 1e-4, 1e-5)) "pooled"

                        match output.Assignment with
                        | null -> failtest "an assignment"
                        | rows ->
                            let wanted = logits.softmax(1L).reshape(6L, 4L, int64 vocabulary).mean([| 1L |])
                            Expect.isTrue (torch.allclose (rows, wanted, 1e-4, 1e-5)) "mean over positions"

                        Expect.equal (method.Levels 6) (LossLevels(Nullable(), Nullable())) "no levels"
            }

            test "a word for each patch, row by row, without noise or gradient; the networks stay in training" {
                use scope = torch.NewDisposeScope()
                use method = built options
                let x = images 2L 5L 16L
                method.Encoder.train ()
                let tokens = method.Tokens x
                Expect.equal tokens.shape [| 5L; 16L |] "4×4 patches"
                Expect.equal tokens.dtype torch.int64 "type"
                Expect.equal (doubles (method.Tokens x)) (doubles tokens) "again"
                Expect.isTrue method.Encoder.training "training mode is back"
                Expect.isTrue (torch.is_grad_enabled ()) "gradients are back"

                for i in 0..2 do
                    (part method i).eval()

                let map = method.Encoder.Map x
                let named = doubles tokens

                for n in 0L .. 4L do
                    for r in 0L .. 3L do
                        for c in 0L .. 3L do
                            let here = map.narrow(0L, n, 1L).narrow(2L, r, 1L).narrow(3L, c, 1L)
                            let best = scalar (((head method).call here).argmax 1L)
                            Expect.equal named[int (n * 16L + r * 4L + c)] best $"image {n}, {r}, {c}"

                Expect.isTrue (named |> Array.forall (fun t -> t >= 0. && t < float vocabulary)) "range"
                Expect.equal (method.Vocabulary, method.Patch) (vocabulary, 4) "as a tokenizer"
            }

            test "the patch is the encoder's stride, which the decoder must have too" {
                let sized (options: DvaeOptions) widths =
                    DvaeOptions(
                        vocabulary,
                        5,
                        widths,
                        1,
                        true,
                        options.Pixels,
                        1.,
                        0.25,
                        0.5,
                        0.1,
                        0.2,
                        struct (3, 8, 8),
                        mean,
                        std
                    )

                use fine = new Dvae(resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar, sized options [| 4; 4 |], cpu)
                Expect.equal fine.Patch 2 "stride 2"

                refused "3 stages draws patches of 4 pixels, but the encoder's have 2" (fun () ->
                    new Dvae(resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar, options, cpu))

                refused "needs a stage" (fun () -> new Dvae(encoder (), sized options [||], cpu))

                use scope = torch.NewDisposeScope()
                use method = built options
                refused "multiples of 4" (fun () -> method.Tokens(torch.zeros (2L, 3L, 10L, 10L)))
            }

            test "finding the stride leaves running statistics and mode as they were" {
                use inner = encoder ()
                SeededInitialisation.Apply(inner, 1UL)
                let before = [ for struct (name, b) in inner.named_buffers () -> name, doubles b ]
                use _ = new Dvae(inner, options, cpu)
                Expect.equal [ for struct (name, b) in inner.named_buffers () -> name, doubles b ] before "buffers"
                Expect.isTrue inner.training "mode"
            }

            test "normalised logits: no word is ahead or behind for its weights' length" {
                use scope = torch.NewDisposeScope()
                use head = new TokenHead(6, 10, true)
                SeededInitialisation.Apply(head, 1UL, "head")
                use map = torch.randn(4L, 6L, 5L, 5L).relu()
                let logits = head.call map
                let gain = sqrt (2. * log 10.)
                Expect.equal logits.shape [| 100L; 10L |] "a row for each position"
                Expect.all (doubles (logits.mean ([| 0L |]))) (fun m -> abs m < 1e-4) "mean"
                let deviations = doubles (logits.std (0L, unbiased = false))
                Expect.all deviations (fun d -> abs (d - gain) < 0.01) "deviation"

                let weight = parameters head |> List.find (fst >> fun n -> n.EndsWith "weight") |> snd
                use _ = torch.no_grad ()
                weight[0L].mul_((50.).ToScalar()) |> ignore
                weight[1L].mul_((0.1).ToScalar()) |> ignore
                Expect.isTrue (torch.allclose (head.call map, logits, 1e-2, 1e-2)) "lengths are no advantage"

                use plain = new TokenHead(6, 10, false)
                SeededInitialisation.Apply(plain, 1UL, "head")
                Expect.equal (parameters plain |> List.map fst) [ "conv.weight"; "conv.bias" ] "plain: a convolution"
            }

            test "the decoder: words as rows of the codebook, positions doubled stage by stage" {
                use scope = torch.NewDisposeScope()
                use decoder = new TokenDecoder(7, 3, [| 5; 4; 4 |], 2, 6)
                SeededInitialisation.Apply(decoder, 2UL, "decoder")
                Expect.equal decoder.Factor 4 "two doublings"
                let tokens = torch.tensor [| 0L; 6L; 3L; 3L; 1L; 2L |]
                let hot = torch.nn.functional.one_hot(tokens, 7L).``to`` torch.float32
                Expect.isTrue (torch.allclose (decoder.Look tokens, decoder.Mix hot, 1e-6, 1e-7)) "one-hot mixtures"
                let drawn = decoder.Draw(decoder.Look tokens, 1, 3)
                Expect.equal drawn.shape [| 2L; 6L; 4L; 12L |] "2 images of 1×3 words"
                decoder.eval ()
                let alone = decoder.Draw(decoder.Look(tokens.narrow (0L, 3L, 3L)), 1, 3)
                let both = decoder.Draw(decoder.Look tokens, 1, 3)
                Expect.isTrue (torch.allclose (both.narrow (0L, 1L, 1L), alone, 1e-4, 1e-5)) "image by image"
            }

            test "quality: what a person would compute from pixels and words" {
                for options in [ options; likelihood ] do
                    use scope = torch.NewDisposeScope()
                    use method = built options
                    let x = images 4L 300L 8L // more than one chunk
                    let struct (psnr, usage) = method.Quality x
                    Expect.isTrue method.Encoder.training "training mode is back"
                    use _ = torch.no_grad ()

                    for i in 0..2 do
                        (part method i).eval()

                    let tokens = method.Tokens x
                    let d = decoder method
                    let values = d.Draw(d.Look(tokens.flatten ()), 2, 2)

                    let decoded =
                        match options.Pixels with
                        | PixelLikelihood.SquaredError ->
                            values.mul(constant std).add(constant mean).clamp((0.).ToScalar(), (1.).ToScalar())
                        | _ -> LogitLaplace.Pixels(values.narrow (1L, 0L, 3L))

                    let truth = x.mul(constant std).add(constant mean)

                    let mse =
                        Array.map2 (fun a b -> (a - b) ** 2.) (doubles decoded) (doubles truth)
                        |> Array.average

                    close "PSNR" 1e-4 (10. * log10 (1. / mse)) psnr
                    let used = doubles tokens |> Array.distinct |> Array.length
                    close "usage" 1e-12 (float used / float vocabulary) usage
            }

            test "normalised logits use most of the vocabulary before anything is learned" {
                use scope = torch.NewDisposeScope()
                use method = built options
                let x = images 6L 200L 16L

                for step in 0L .. 30L do // running statistics settle
                    use inner = torch.NewDisposeScope()
                    let context = StepContext(7UL, step, 100L, 0)
                    method.Forward(OneView x, &context) |> ignore

                let struct (_, usage) = method.Quality x
                Expect.isGreaterThanOrEqual usage 0.75 "usage"
            }

            test "pictures: the image, its words in colours, what the words give back" {
                use scope = torch.NewDisposeScope()
                use method = built options
                let x = images 5L 3L 8L
                let views = OneView x
                let context = StepContext(7UL, 0L, 1L, 0)

                let once () =
                    let picture = method.Picture(views, &context)
                    picture.Columns |> List.ofSeq, picture.Images

                let columns, first = once ()
                Expect.equal columns [ "input"; "words"; "decoded" ] "columns"
                Expect.equal first.shape [| 3L; 3L; 3L; 8L; 8L |] "rows, columns, image"
                Expect.isTrue method.Encoder.training "training mode is back"
                Expect.equal (doubles (first.select (1L, 0L))) (doubles x) "input"

                // Patches of one word have one colour, others another.
                let tokens = doubles (method.Tokens x)
                let colours = first.select (1L, 1L)

                let seen =
                    [
                        for n in 0L .. 2L do
                            for r in 0L .. 1L do
                                for c in 0L .. 1L do
                                    let block =
                                        colours.narrow(0L, n, 1L).narrow(2L, 4L * r, 4L).narrow(3L, 4L * c, 4L).reshape
                                            [| 3L; 16L |]

                                    let columns = Array.chunkBySize 16 (doubles block)
                                    Expect.all columns (fun v -> Array.distinct v |> Array.length = 1) "one colour"
                                    tokens[int (n * 4L + r * 2L + c)], columns |> Array.map Array.head
                    ]

                Expect.equal
                    (seen |> List.map fst |> List.distinct |> List.length)
                    (seen |> List.map snd |> List.distinct |> List.length)
                    "as many colours as words"

                Expect.equal
                    (seen |> List.distinct |> List.length)
                    (seen |> List.map fst |> List.distinct |> List.length)
                    "one colour a word"

                first.Dispose()
                let before = LiveTensors.settled ()
                (once () |> snd).Dispose()
                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }

            test "a gray image is pictured in gray" {
                use scope = torch.NewDisposeScope()

                let gray =
                    DvaeOptions(
                        4,
                        5,
                        [| 4; 4; 4 |],
                        1,
                        true,
                        PixelLikelihood.SquaredError,
                        1.,
                        1.,
                        0.,
                        0.,
                        0.,
                        struct (1, 8, 8),
                        [| 0.5 |],
                        [| 0.2 |]
                    )

                let inner = new ResNet(ResNetOptions(ResidualBlock.Basic, [| 1; 1 |], 4, Stem.CifarStride2, 1))
                use method = new Dvae(inner, gray, cpu)
                method.Initialise 3UL
                let context = StepContext(7UL, 0L, 1L, 0)
                let picture = method.Picture(OneView(torch.randn (2L, 1L, 8L, 8L)), &context)
                Expect.equal picture.Images.shape [| 2L; 3L; 3L; 8L; 8L |] "three channels"
            }

            test "impossible options are refused" {
                let refused text (change: DvaeOptions -> DvaeOptions) =
                    use inner = encoder ()
                    refused text (fun () -> new Dvae(inner, change options, cpu))

                let changed vocabulary temperature decay weight (mean: float[]) _ =
                    DvaeOptions(
                        vocabulary,
                        5,
                        [| 8; 6; 4 |],
                        1,
                        true,
                        PixelLikelihood.SquaredError,
                        temperature,
                        0.25,
                        decay,
                        weight,
                        0.2,
                        struct (3, 8, 8),
                        mean,
                        std
                    )

                refused "two words" (changed 1 1. 0.5 0.1 mean)
                refused "temperature must be positive; received 0" (changed 4 0. 0.5 0.1 mean)
                refused "temperature decay must be from 0 to 1; received 1.5" (changed 4 1. 1.5 0.1 mean)
                refused "KL weight must be 0 or more; received -1" (changed 4 1. 0.5 -1. mean)
                refused "received 1 and 3" (changed 4 1. 0.5 0.1 [| 0.5 |])
            }
        ]

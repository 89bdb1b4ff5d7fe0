/// I-JEPA: loss, predictor, method.
module Tests.Core.IJepaTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

let private both = [ JepaDistance.SmoothL1; JepaDistance.Squared ]

let private cost distance x =
    match distance with
    | JepaDistance.Squared -> x * x
    | _ -> if abs x < 1. then x * x / 2. else abs x - 0.5

/// Mean over everything, loop by loop.
let private naive distance (predicted: float[]) (targets: float[]) =
    Array.map2 (fun p t -> cost distance (p - t)) predicted targets |> Array.average

/// Mean 0 and variance 1 over the features of each token.
let private naiveNormalised width (tokens: float[]) =
    tokens
    |> Array.chunkBySize width
    |> Array.collect (fun token ->
        let mean = Array.average token
        let variance = token |> Array.averageBy (fun x -> (x - mean) ** 2.)
        token |> Array.map (fun x -> (x - mean) / sqrt (variance + 1e-5)))

let private loss =
    testList
        "loss"
        [
            test "equals loops, both distances, in both precisions" {
                use scope = torch.NewDisposeScope()

                for shape in [ [ 1L; 1L; 1L ]; [ 2L; 3L; 5L ]; [ 3L; 8L; 16L ]; [ 4L; 7L ] ] do
                    for distance in both do
                        let s, p = GoldenLoss.arbitrary 1. shape
                        let p = p |> Array.map (fun x -> 2.5 * x)
                        let _, t = GoldenLoss.arbitrary 4. shape
                        let expected = naive distance p t

                        for dtype, tolerance in [ torch.float64, 1e-12; torch.float32, 1e-5 ] do
                            let value = JepaLoss.Loss((tensor s p).``to``(dtype), (tensor s t).``to``(dtype), distance)

                            Expect.equal value.dtype dtype "dtype"
                            close $"{shape} {distance}" tolerance expected (scalar value)
            }

            test "gradient equals finite differences, and none reaches the targets" {
                for distance in both do
                    let s, p = GoldenLoss.arbitrary 2. [ 2L; 3L; 4L ]
                    let _, t = GoldenLoss.arbitrary 5. [ 2L; 3L; 4L ]
                    let wide = s, p |> Array.map (fun x -> 1.8 * x)

                    GoldenLoss.finiteDifferences [ wide ] (fun leaves ->
                        JepaLoss.Loss(leaves.Head, tensor s t, distance))

                    use scope = torch.NewDisposeScope()
                    let predicted, targets = (tensor s p).requires_grad_(), (tensor s t).requires_grad_()
                    JepaLoss.Loss(predicted, targets, distance).backward()
                    Expect.isNull targets.grad "targets"
                    Expect.isGreaterThan (predicted.grad.abs().max() |> scalar) 0. "predictions"
            }

            test "equal tokens cost nothing, with finite gradients" {
                for distance in both do
                    for fill in [ 0.; 1.; 3. ] do
                        let value =
                            GoldenLoss.atCollapse fill [ [| 2L; 3L; 4L |] ] (fun leaves ->
                                let targets = leaves.Head.detach().clone()
                                JepaLoss.Loss(leaves.Head, targets, distance))

                        Expect.equal value 0. $"all {fill}"
            }

            test "normalised targets: mean 0 and variance 1 of each token, constants become 0" {
                use scope = torch.NewDisposeScope()
                let s, t = GoldenLoss.arbitrary 3. [ 2L; 3L; 6L ]
                let tokens = (tensor s t).requires_grad_()
                let normalised = JepaLoss.Normalised tokens
                Expect.isFalse normalised.requires_grad "detached"
                same "loops" 1e-12 (tensor s (naiveNormalised 6 t)) normalised
                let flat = JepaLoss.Normalised(torch.full ([| 2L; 6L |], (5.).ToScalar(), dtype = torch.float64))
                Expect.all (doubles flat) (fun x -> abs x < 1e-12) "constant"
            }

            test "predicting nothing costs the chance level" {
                use scope = torch.NewDisposeScope()
                let s, t = GoldenLoss.arbitrary 3. [ 4L; 5L; 32L ]
                let targets = JepaLoss.Normalised(tensor s (t |> Array.map (fun x -> 10. * x)))
                let zeros = torch.zeros_like targets
                let chance = JepaLoss.Chance(JepaDistance.Squared, true)
                close "squared" 1e-4 chance.Value (scalar (JepaLoss.Loss(zeros, targets, JepaDistance.Squared)))
                Expect.isLessThan (scalar (JepaLoss.Loss(zeros, targets, JepaDistance.SmoothL1))) 0.5 "smooth L1"
                Expect.isFalse (JepaLoss.Chance(JepaDistance.Squared, false)).HasValue "not normalised"
                Expect.isFalse (JepaLoss.Chance(JepaDistance.SmoothL1, true)).HasValue "smooth L1"
            }

            test "neither order of tokens nor of features matters" {
                use scope = torch.NewDisposeScope()
                let s, p = GoldenLoss.arbitrary 1. [ 3L; 4L ]
                let _, t = GoldenLoss.arbitrary 4. [ 3L; 4L ]
                let p, t = tensor s p, tensor s t

                for distance in both do
                    let expected = scalar (JepaLoss.Loss(p, t, distance))

                    for d in 0L .. 1L do
                        let moved = JepaLoss.Loss(p.flip [| d |], t.flip [| d |], distance)
                        close $"dimension {d}" 1e-12 expected (scalar moved)

                    close "swapped" 1e-12 expected (scalar (JepaLoss.Loss(t, p, distance)))
            }

            test "other shapes are refused, and nothing is left behind" {
                Expect.stringContains
                    (GoldenLoss.refusal (fun () ->
                        JepaLoss.Loss(torch.zeros (2L, 3L), torch.zeros (3L, 2L), JepaDistance.Squared)))
                    "expected two times (…, d), received (2, 3) and (3, 2)"
                    "shapes"

                Expect.stringContains
                    (GoldenLoss.refusal (fun () ->
                        JepaLoss.Loss(torch.zeros (0L, 3L), torch.zeros (0L, 3L), JepaDistance.Squared)))
                    "(0, 3)"
                    "empty"

                use p = torch.rand (4L, 8L)
                use t = torch.rand (4L, 8L)

                for distance in both do
                    GoldenLoss.leavesNothing (fun () -> JepaLoss.Loss(p, t, distance))

                GoldenLoss.leavesNothing (fun () -> JepaLoss.Normalised p)
            }
        ]

/// Float64 and larger weights than training starts with, so that nothing hides behind small numbers.
let private lively (m: torch.nn.Module) =
    use _ = torch.no_grad ()
    m.``to`` torch.float64 |> ignore

    for name, p in parameters m do
        use scale = (if p.dim () > 1L then 12. else 1.).ToScalar()
        p.mul_ scale |> ignore

        if p.dim () = 1L then
            use wave = torch.arange(p.numel (), dtype = torch.float64).mul_(0.7.ToScalar()).sin_()
            p.add_ (wave, (0.1).ToScalar()) |> ignore

let private indices (rows: int64 list list) =
    let width = rows.Head.Length
    torch.tensor(rows |> List.concat |> Array.ofList, dtype = torch.int64).view(int64 rows.Length, int64 width)

let private seen = [ [ 0L; 5L; 9L ]; [ 2L; 3L; 4L ] ]

/// Three blocks of two patches for each of two images.
let private wanted = [ [ 1L; 2L; 6L; 7L; 10L; 11L ]; [ 0L; 1L; 5L; 6L; 8L; 9L ] ]

let private grid = struct (3, 4)

let private predictor depth =
    let model = new JepaPredictor(6, grid, JepaPredictorOptions(8, depth, 2))
    SeededInitialisation.Apply(model, 3UL)
    lively model
    model

let private contextTokens () =
    GoldenLoss.arbitrary 1. [ 2L; 3L; 6L ] ||> tensor

/// Tokens as the paper describes them, one image and one block at a time, through copies of the model's own blocks: first the context, then the
/// tokens of the patches to predict.
let private alone (model: JepaPredictor) depth (context: torch.Tensor) (seen: int64 list) (wanted: int64 list) =
    let own = parameters model |> Map.ofList
    let part name = doubles own[name]
    let table = (PositionTable.SinCos(3, 4, 8)).``to``(torch.float64).squeeze 0L

    let linear name (x: torch.Tensor) =
        x.matmul(own[name + ".weight"].t()).add(own[name + ".bias"])

    let placed (tokens: torch.Tensor) (patches: int64 list) =
        tokens.add (table.index_select (0L, torch.tensor (Array.ofList patches)))

    let masks = own["mask_token"].view(1L, 8L).expand(int64 wanted.Length, 8L)
    let all = torch.cat (ResizeArray [ placed (linear "embed" context) seen; placed masks wanted ], 0L)
    let mutable x = all.unsqueeze 0L

    for i in 0 .. depth - 1 do
        let block = new TransformerBlock(TransformerBlockOptions(8, 2, 4., true, 1e-6, Nullable(), 0., false))

        block.``to`` torch.float64 |> ignore
        use _ = torch.no_grad ()

        for name, p in parameters block do
            p.copy_ (own[$"blocks.{i}.{name}"]) |> ignore

        x <- block.call x
        block.Dispose()

    let out = x.squeeze(0L).narrow(0L, int64 seen.Length, int64 wanted.Length)
    let weight, bias = part "norm.weight", part "norm.bias"

    let normed =
        doubles out
        |> Array.chunkBySize 8
        |> Array.collect (fun token ->
            let mean = Array.average token
            let variance = token |> Array.averageBy (fun v -> (v - mean) ** 2.)

            token
            |> Array.mapi (fun i v -> (v - mean) / sqrt (variance + 1e-6) * weight[i] + bias[i]))

    linear "proj" (tensor [| int64 wanted.Length; 8L |] normed)

let private predictors =
    testList
        "predictor"
        [
            test "blocks of all images at once are what each is alone" {
                use scope = torch.NewDisposeScope()
                use _ = torch.no_grad ()

                for depth in [ 1; 2; 3 ] do
                    use model = predictor depth
                    let context = contextTokens ()
                    let got = model.Predict(context, indices seen, indices wanted, 3, grid)
                    Expect.equal got.shape [| 2L; 6L; 6L |] "a token for each wanted patch"

                    for i in 0..1 do
                        for b in 0..2 do
                            let block = wanted[i][2 * b .. 2 * b + 1]
                            let expected = alone model depth (context.select (0L, int64 i)) seen[i] block

                            same
                                $"depth {depth}, image {i}, block {b}"
                                1e-10
                                expected
                                (got.select(0L, int64 i).narrow(0L, int64 (2 * b), 2L))
            }

            test "the order of the context does not matter, its positions and those asked for do" {
                use scope = torch.NewDisposeScope()
                use _ = torch.no_grad ()
                use model = predictor 2
                let context = contextTokens ()
                let expected = model.Predict(context, indices seen, indices wanted, 3, grid)

                let turned = model.Predict(context.flip [| 1L |], (indices seen).flip [| 1L |], indices wanted, 3, grid)

                same "turned" 1e-12 expected turned

                let differs what (other: torch.Tensor) =
                    Expect.isGreaterThan ((other - expected).abs().max() |> scalar) 1e-3 what

                differs
                    "other places seen"
                    (model.Predict(context, (indices seen).flip [| 1L |], indices wanted, 3, grid))

                differs
                    "other places wanted"
                    (model.Predict(context, indices seen, indices [ wanted[1]; wanted[0] ], 3, grid))

                differs "one block of six" (model.Predict(context, indices seen, indices wanted, 1, grid))
                differs "other tokens" (model.Predict(context.neg (), indices seen, indices wanted, 3, grid))

                let interpolated = model.Predict(context, indices seen, indices wanted, 3, struct (4, 4))
                differs "another grid" interpolated
            }

            test "gradient equals finite differences" {
                use model = predictor 2

                GoldenLoss.finiteDifferences [ GoldenLoss.arbitrary 1. [ 2L; 3L; 6L ] ] (fun leaves ->
                    let target = GoldenLoss.arbitrary 7. [ 2L; 6L; 6L ] ||> tensor
                    let predicted = model.Predict(leaves.Head, indices seen, indices wanted, 3, grid)
                    JepaLoss.Loss(predicted, target, JepaDistance.Squared))
            }

            test "initial weights" {
                use model = new JepaPredictor(24, grid, JepaPredictorOptions(64, 2, 4))
                SeededInitialisation.Apply(model, 3UL)

                for name, p in parameters model do
                    let x = doubles p

                    if name.Contains "norm" && name.EndsWith "weight" then
                        Expect.all x ((=) 1.) name
                    elif name.EndsWith "bias" then
                        Expect.all x ((=) 0.) name
                    else
                        let deviation = sqrt (Array.averageBy (fun v -> v * v) x)
                        Expect.isLessThan (abs (deviation / 0.02 - 1.)) (4. / sqrt (float x.Length)) name

                Expect.contains (parameters model |> List.map fst) "mask_token" "the learned token"
            }

            test "what cannot be is refused, and passes leave nothing behind" {
                let refused part f =
                    Expect.stringContains (GoldenLoss.refusal f) part part

                let build width depth heads =
                    fun () ->
                        use model = new JepaPredictor(6, grid, JepaPredictorOptions(width, depth, heads))
                        torch.zeros 1L

                refused "depth 0" (build 8 0 2)
                refused "divisible by 4" (build 6 1 2)
                refused "heads" (build 8 1 3)
                use model = predictor 1
                use context = contextTokens ()
                use s = indices seen
                use w = indices wanted
                refused "expected (N, Kc, 6)" (fun () -> model.Predict(context.narrow (2L, 0L, 5L), s, w, 3, grid))
                refused "(N, 4·Kt)" (fun () -> model.Predict(context, s, w, 4, grid))

                refused "received (2, 3, 6), (2, 2)" (fun () ->
                    model.Predict(context, s.narrow (1L, 0L, 2L), w, 3, grid))

                GoldenLoss.leavesNothing (fun () -> model.Predict(context, s, w, 3, grid))
            }
        ]

let private vit =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
        Registers = 1
    }

let private options distance normalise =
    IJepaOptions(JepaPredictorOptions(16, 2, 2), distance, normalise, 0.9, 1.)

let private built (v: Vit) (options: IJepaOptions) =
    let method = new SslResearch.Core.Methods.IJepa((v :> IBackbone).Build 3, options)
    method.Initialise 3UL
    method

let private student (method: SslResearch.Core.Methods.IJepa) =
    let struct (_, m) = method.Trained[0]
    m :?> VisionTransformer

let private predictorOf (method: SslResearch.Core.Methods.IJepa) =
    let struct (_, m) = method.Trained[1]
    m :?> JepaPredictor

let private images () =
    torch.arange(int64 (2 * 3 * 16 * 16), dtype = torch.float32).mul_((0.37).ToScalar()).sin_().view(2L, 3L, 16L, 16L)

let private context = [ [ 0L; 7L; 13L; 4L ]; [ 15L; 1L; 2L; 8L ] ]

/// Two blocks of 2×2.
let private targets =
    [
        [ 5L; 6L; 9L; 10L; 10L; 11L; 14L; 15L ]
        [ 5L; 6L; 9L; 10L; 6L; 7L; 10L; 11L ]
    ]

let private views (images: torch.Tensor) =
    ContextTargets(images, indices context, indices targets, 2, 16)

let private forward (method: SslResearch.Core.Methods.IJepa) views =
    let step = StepContext(0UL, 0L, 10L, 0)
    method.Forward(views, &step)

let private moved (m: torch.nn.Module) =
    use _ = torch.no_grad ()

    for _, p in parameters m do
        use wave = torch.arange(p.numel (), dtype = torch.float32).mul_((0.9).ToScalar()).cos_().view p.shape
        p.add_ (wave, (0.05).ToScalar()) |> ignore

let private methods =
    testList
        "method"
        [
            test "the loss is that of its networks, image by image, block by block" {
                for distance in both do
                    for normalise in [ true; false ] do
                        use scope = torch.NewDisposeScope()
                        use _ = torch.no_grad ()
                        use method = built vit (options distance normalise)
                        moved (student method) // so that student and target encoder differ
                        let x = images ()
                        let output = forward method (views x)
                        let prefix = 2L
                        let grid = struct (4, 4)

                        let one i =
                            let image = x.narrow (0L, int64 i, 1L)
                            let tokens = (method.Encoder :?> VisionTransformer).Tokens image
                            let patches = tokens.narrow (1L, prefix, 16L)
                            let embedded = (student method).Embed image
                            let shown = embedded.index_select (1L, torch.tensor (Array.ofList context[i]))
                            let vit = student method
                            let encoded = vit.Norm(vit.Blocks(vit.Sequence shown))

                            [|
                                for block in List.chunkBySize 4 targets[i] do
                                    let predicted =
                                        (predictorOf method)
                                            .Predict(
                                                encoded.narrow (1L, prefix, 4L),
                                                indices [ context[i] ],
                                                indices [ block ],
                                                1,
                                                grid
                                            )

                                    let target = patches.index_select (1L, torch.tensor (Array.ofList block)) |> doubles

                                    let target = if normalise then naiveNormalised 24 target else target
                                    naive distance (doubles predicted) target
                            |]

                        let expected = [| 0; 1 |] |> Array.collect one |> Array.average
                        close $"{distance}, normalised {normalise}" 2e-5 expected (scalar output.Loss)
                        same "embedding" 1e-5 (method.Encoder.call x) output.Embedding
            }

            test "only pixels of the context reach the prediction, and none reaches the targets" {
                for distance in both do
                    use scope = torch.NewDisposeScope()
                    use method = built vit (options distance true)
                    let x = (images ()).requires_grad_()
                    (forward method (views x)).Loss.backward()

                    let gradient = x.grad.abs().view(2L, 3L, 4L, 4L, 4L, 4L).sum([| 1L; 3L; 5L |]).view(2L, 16L) // (N, rows · columns)

                    let sums = doubles gradient |> Array.chunkBySize 16

                    for i in 0..1 do
                        for p, sum in Array.indexed sums[i] do
                            if List.contains (int64 p) context[i] then
                                Expect.isGreaterThan sum 0. $"image {i}, patch {p}: seen"
                            else
                                Expect.equal sum 0. $"image {i}, patch {p}: hidden"
            }

            test "h is the mean of the target encoder's patches, whatever the given pooling, and no branch drops out" {
                use scope = torch.NewDisposeScope()
                use _ = torch.no_grad ()
                let x = images ()

                for pool in [ VitPool.Cls; VitPool.Mean ] do
                    use method = built { vit with Pool = pool; DropPath = 0.9 } (options JepaDistance.SmoothL1 true)

                    let tokens = (method.Encoder :?> VisionTransformer).Tokens x
                    let expected = tokens.narrow(1L, 2L, 16L).mean([| 1L |])
                    same "h" 1e-6 expected (method.Encoder.call x)
                    let first, second = forward method (views x), forward method (views x)
                    same "the same again" 0. first.Embedding second.Embedding
            }

            test "the target encoder's momentum rises in a straight line" {
                use method = built vit (options JepaDistance.SmoothL1 true)

                let momentum step =
                    method.Teachers[0].Momentum.Invoke(StepContext(0UL, step, 10L, 0))

                close "start" 1e-12 0.9 (momentum 0L)
                close "half" 1e-12 0.95 (momentum 5L)
                close "last step" 1e-12 0.99 (momentum 9L)
                Expect.equal method.Teachers.Count 1 "one teacher"
            }

            test "levels" {
                use squared = built vit (options JepaDistance.Squared true)
                Expect.equal (squared.Levels 8) (LossLevels(Nullable 1., Nullable 0.)) "squared"
                use smooth = built vit (options JepaDistance.SmoothL1 true)
                Expect.equal (smooth.Levels 8) (LossLevels(Nullable(), Nullable 0.)) "smooth L1"
            }

            test "other encoders, other patches and impossible momenta are refused" {
                let refused part (f: unit -> unit) =
                    try
                        f ()
                        failtest "accepted"
                    with :? ArgumentException as e ->
                        Expect.stringContains e.Message part part

                let good = options JepaDistance.SmoothL1 true

                refused "only a vision transformer takes; received ResNet" (fun () ->
                    use encoder = preset ()
                    use _ = new SslResearch.Core.Methods.IJepa(encoder, good)
                    ())

                refused "momentum at the start" (fun () ->
                    use _ =
                        built vit (IJepaOptions(JepaPredictorOptions(16, 2, 2), JepaDistance.Squared, true, 1.1, 1.))

                    ())

                refused "count 16 patches, but patches of 8 pixels make 2x2 of views of 16x16" (fun () ->
                    use method = built { vit with Patch = 8 } good
                    forward method (views (images ())) |> ignore)
            }

            test "as a value: presets are possible, impossible settings are problems with a place" {
                let places (m: IMethod<ContextTargets>) = m.Problems |> List.map _.Where
                Expect.isEmpty (places IJepa.Default @ places IJepa.PaperLoss @ places IJepa.CpuCifar) "presets"

                Expect.equal
                    (places
                        { IJepa.Default with
                            PredictorWidth = 6
                            PredictorDepth = 0
                            PredictorHeads = 4
                            Momentum = 2.
                        })
                    [ "PredictorWidth"; "PredictorDepth"; "PredictorHeads"; "Momentum" ]
                    "problems"

                let facts = (IJepa.CpuCifar :> IMethod<ContextTargets>).Facts |> Map.ofList
                Expect.equal facts["predictor"] "width 64, depth 2, 4 heads" "facts"
                Expect.equal facts["momentum"] "0.98 to 1" "facts"
                Expect.isTrue (box IJepa.Default :? INeedsVisionTransformer) "needs a vision transformer"
            }
        ]

[<Tests>]
let tests = testList "I-JEPA" [ loss; predictors; methods ]

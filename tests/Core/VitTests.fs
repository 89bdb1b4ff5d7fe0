module Tests.Core.VitTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Models
open SslResearch.Core.Training
open Tests.Support
open Tests.Support.Networks
open Tests.Support.ReferenceModels

let private build (v: Vit) =
    (v :> IBackbone).Build 3 :?> VisionTransformer

/// Small enough for loops and finite differences.
let private tiny =
    { VitTiny 8 2 with
        Width = 12
        Depth = 2
        Heads = 3
        MlpRatio = 2.
    }

let private initialised (v: Vit) =
    let model = build v
    SeededInitialisation.Apply(model, 3UL)
    model

/// Larger weights than training starts with, so that no branch hides behind the residual path; float64.
let private lively (m: torch.nn.Module) =
    use _ = torch.no_grad ()
    m.``to`` torch.float64 |> ignore

    for name, p in parameters m do
        use scale = (if name.EndsWith "norm1.weight" then 1. else 15.).ToScalar()

        if p.dim () > 1L then
            p.mul_ scale |> ignore
        else
            use wave = torch.arange(p.numel (), dtype = torch.float64).mul(0.7.ToScalar()).sin_()
            p.add_ (wave, (0.1).ToScalar()) |> ignore

let private images (n: int) (side: int) =
    torch
        .arange(int64 (n * 3 * side * side), dtype = torch.float64)
        .mul(0.37.ToScalar())
        .sin_()
        .view(int64 n, 3L, int64 side, int64 side)

let private distance (a: torch.Tensor) (b: torch.Tensor) =
    Expect.equal a.shape b.shape "shape"
    use d = (a - b).abs().max()
    d.``to``(torch.float64).item<float>()

let private golden double =
    use scope = torch.NewDisposeScope()
    let e = Golden.entry "models" "dino_vit"

    use model =
        build
            { VitTiny 32 4 with
                Width = 48
                Depth = 2
            }

    if double then
        model.``to`` torch.float64 |> ignore

    load e Some model
    let expected = e.GetProperty "expected"
    let tolerance = e.GetProperty "tolerance"
    Expect.equal (count model) (expected.GetProperty("parameter_count").GetInt64()) "parameters"

    let bound (name: string) =
        if double then
            tolerance.GetProperty("f64").GetProperty("relative_norm").GetDouble()
        else
            tolerance.GetProperty("f32").GetProperty("relative_norm").GetProperty(name).GetDouble()

    let check (name: string) (got: torch.Tensor) =
        agrees name (bound name) (expected.GetProperty name) (doubles got)

    let x name =
        let shape, values = Golden.input name e
        (tensor shape values).``to``(if double then torch.float64 else torch.float32)

    let cls = model.call (x "x")
    check "cls" cls
    cls.square().mean().backward()
    let own = parameters model |> Map.ofList
    check "grad_pos_embed" own["pos_embed"].grad
    check "grad_patch_proj" own["patch_embed.proj.weight"].grad
    let attention = model.Attention(x "x")
    let row = attention.select(0, 0).select(1, 0)
    check "last_attention_cls_row_image0" row

    let all =
        expected.GetProperty("last_attention_cls_row_image0").GetProperty "all"
        |> Golden.floats

    Array.iter2
        (fun want got -> Expect.isLessThan (abs (want - got)) (if double then 1e-10 else 1e-7) "attention")
        all
        (doubles row)

    check "cls_interpolated_pos" (model.call (x "xs"))

    check "last2_layers_normed_first" (model.Norm(model.Blocks(model.Sequence(model.Embed(x "x")), Nullable 1)))

    check "last2_layers_normed_second" (model.Tokens(x "x"))

let private references =
    testList
        "reference values"
        [
            test "DINO's transformer, float64" { golden true }
            test "DINO's transformer, float32" { golden false }

            test "parameter counts" {
                let expected = (Golden.entry "models" "parameter_counts").GetProperty "expected"

                for name, vit in [ "tiny", VitTiny; "small", VitSmall; "base", VitBase ] do
                    for size, patch in [ 224, 16; 32, 4 ] do
                        use model = build (vit size patch)
                        let want = expected.GetProperty($"dino.vit_{name}.patch{patch}.img{size}").GetInt64()
                        Expect.equal (count model) want $"{name} {patch} {size}"
            }

            test "weight decay leaves out what DINO leaves out" {
                let expected = (Golden.entry "optim" "decay_groups.dino_vit_depth1").GetProperty "expected"

                use model =
                    build
                        { VitTiny 32 4 with
                            Width = 48
                            Depth = 1
                        }

                use flat = FlatParameters.Create [ struct ("encoder", model :> torch.nn.Module) ]

                Expect.equal
                    flat.Segments.Count
                    (expected.GetProperty("total_parameters_tensors").GetInt32())
                    "parameters"

                let spared =
                    [
                        for s in flat.Segments do
                            if s.IsNormOrBias then
                                s.Name.Substring("encoder.".Length)
                    ]

                let want =
                    [
                        for n in expected.GetProperty("no_decay_dino").EnumerateArray() -> n.GetString()
                    ]

                Expect.equal
                    (List.sort spared)
                    (List.sort want)
                    "biases and normalisations; CLS and positions are decayed"
            }
        ]

// Loops straight from the papers, over arrays.
let private naiveNorm (weight: float[]) (bias: float[]) (x: float[]) =
    let mean = Array.average x
    let variance = x |> Array.averageBy (fun v -> (v - mean) ** 2.)

    x
    |> Array.mapi (fun i v -> (v - mean) / sqrt (variance + 1e-6) * weight[i] + bias[i])

let private naiveLinear (weight: float[]) (bias: float[]) (x: float[]) =
    bias
    |> Array.mapi (fun o b -> b + Array.sum (Array.mapi (fun i v -> weight[o * x.Length + i] * v) x))

/// Φ by Simpson's rule.
let private naiveGelu x =
    let steps = 2000
    let h = x / float steps
    let density t = exp (-t * t / 2.) / sqrt (2. * Math.PI)

    let area =
        Seq.sum
            [
                for i in 0..steps ->
                    density (float i * h)
                    * (if i = 0 || i = steps then 1.
                       elif i % 2 = 1 then 4.
                       else 2.)
            ]
        * h
        / 3.

    x * (0.5 + area)

/// Tokens after one block, and the attention weights of each head.
let private naiveBlock (own: string -> float[]) heads causal (tokens: float[][]) =
    let width = tokens[0].Length
    let size = width / heads

    let qkv =
        tokens
        |> Array.map (
            naiveNorm (own "norm1.weight") (own "norm1.bias")
            >> naiveLinear (own "attn.qkv.weight") (own "attn.qkv.bias")
        )

    let part which head t =
        qkv[t][which * width + head * size .. which * width + (head + 1) * size - 1]

    let weights =
        [|
            for head in 0 .. heads - 1 ->
                [|
                    for t in 0 .. tokens.Length - 1 ->
                        let scores =
                            [|
                                for s in 0 .. tokens.Length - 1 ->
                                    if causal && s > t then
                                        0.
                                    else
                                        exp (
                                            Array.sum (Array.map2 (*) (part 0 head t) (part 1 head s))
                                            / sqrt (float size)
                                        )
                            |]

                        scores |> Array.map (fun e -> e / Array.sum scores)
                |]
        |]

    let output =
        [|
            for t in 0 .. tokens.Length - 1 ->
                let mixed =
                    [|
                        for head in 0 .. heads - 1 do
                            for i in 0 .. size - 1 ->
                                Seq.sum
                                    [
                                        for s in 0 .. tokens.Length - 1 ->
                                            weights.[head].[t].[s] * Array.item i (part 2 head s)
                                    ]
                    |]

                let middle =
                    Array.map2 (+) tokens[t] (naiveLinear (own "attn.proj.weight") (own "attn.proj.bias") mixed)

                naiveNorm (own "norm2.weight") (own "norm2.bias") middle
                |> naiveLinear (own "mlp.fc1.weight") (own "mlp.fc1.bias")
                |> Array.map naiveGelu
                |> naiveLinear (own "mlp.fc2.weight") (own "mlp.fc2.bias")
                |> Array.map2 (+) middle
        |]

    output, weights

/// Cubic convolution with a = -3/4 at DINO's scale, borders repeated: weights of the source positions for one output position.
let private naiveCubic source target i =
    let at = (float i + 0.5) / ((float target + 0.1) / float source) - 0.5
    let a = -0.75

    let kernel x =
        let x = abs x

        if x <= 1. then (a + 2.) * x ** 3. - (a + 3.) * x * x + 1.
        elif x < 2. then a * (x ** 3. - 5. * x * x + 8. * x - 4.)
        else 0.

    [
        for j in int (floor at) - 1 .. int (floor at) + 2 -> min (max j 0) (source - 1), kernel (at - float j)
    ]

let private twins =
    testList
        "slow twins"
        [
            for heads in [ 1; 3 ] do
                for causal in [ false; true ] do
                    test $"a block, {heads} heads, causal {causal}" {
                        use scope = torch.NewDisposeScope()
                        use _ = torch.no_grad ()

                        use block =
                            new TransformerBlock(
                                TransformerBlockOptions(6, heads, 2.5, true, 1e-6, Nullable(), 0., causal)
                            )

                        SeededInitialisation.Apply(block, 1UL)
                        lively block
                        let own = parameters block |> List.map (fun (n, p) -> n, doubles p) |> Map.ofList
                        let x = images 1 4 |> _.view(1L, 8L, 6L)
                        let rows = Array.chunkBySize 6 (doubles x)
                        let output, weights = naiveBlock (fun n -> own[n]) heads causal rows

                        let near what (want: float[]) (got: torch.Tensor) =
                            Array.iter2 (fun w g -> Expect.isLessThan (abs (w - g)) 1e-10 what) want (doubles got)

                        near "output" (Array.concat output) (block.call x)
                        near "the first token alone" output[0] (block.First x)
                        near "attention" (weights |> Array.collect Array.concat) (block.Attention x)
                    }

            test "patches are cut row by row" {
                use scope = torch.NewDisposeScope()
                use model = initialised tiny
                lively model
                let own = parameters model |> Map.ofList
                let x = images 2 8
                let tokens = model.Project x
                Expect.equal tokens.shape [| 2L; 16L; 12L |] "(N, patches, width)"

                let convolved =
                    torch.nn.functional.conv2d (
                        x,
                        own["patch_embed.proj.weight"],
                        own["patch_embed.proj.bias"],
                        strides = [| 2L; 2L |]
                    )

                Expect.isLessThan (distance tokens (convolved.flatten(2).transpose(1, 2))) 1e-12 "as a convolution"
            }

            test "positions at another size" {
                use scope = torch.NewDisposeScope()
                let width = 3
                let values = images 1 8 |> _.flatten().narrow(0, 0, 60)
                let table = doubles values

                for rows, columns in [ 3, 5; 4, 3; 7, 6; 2, 9 ] do
                    let got = PositionTable.Resize(values.view (1L, 20L, 3L), struct (4, 5), struct (rows, columns))

                    Expect.equal got.shape [| 1L; int64 (rows * columns); int64 width |] "shape"

                    // An axis that keeps its length is sampled at DINO's scale too.
                    let want =
                        [|
                            for r in 0 .. rows - 1 do
                                for c in 0 .. columns - 1 do
                                    for k in 0 .. width - 1 ->
                                        Seq.sum
                                            [
                                                for y, v in naiveCubic 4 rows r do
                                                    for x, h in naiveCubic 5 columns c ->
                                                        v * h * table[(y * 5 + x) * width + k]
                                            ]
                        |]

                    Array.iter2
                        (fun w g -> Expect.isLessThan (abs (w - g)) 1e-10 $"{rows}×{columns}")
                        want
                        (doubles got)
            }

            test "sine-cosine positions" {
                use table = PositionTable.SinCos(2, 3, 8)
                Expect.equal table.shape [| 1L; 6L; 8L |] "shape"
                let got = doubles table
                let slow = 0.01 // 10000^(-1/2)

                for row in 0..1 do
                    for column in 0..2 do
                        let want =
                            [
                                for at in [ float column; float row ] do
                                    for f in [ sin; cos ] do
                                        f at
                                        f (at * slow)
                            ]

                        List.iteri
                            (fun i w ->
                                Expect.floatClose
                                    Accuracy.medium
                                    got[(row * 3 + column) * 8 + i]
                                    w
                                    $"{row} {column} {i}")
                            want

                Expect.throwsT<ArgumentException> (fun () -> PositionTable.SinCos(2, 2, 6) |> ignore) "width"
            }
        ]

let private derivatives =
    testList
        "derivatives"
        [
            for name, v, side in
                [
                    "CLS, registers and layer scale",
                    { tiny with
                        Registers = 2
                        LayerScale = Some 0.7
                    },
                    8
                    "mean of patches", { tiny with Pool = VitPool.Mean }, 8
                    "a smaller view", tiny, 6
                    "sine-cosine positions",
                    { tiny with
                        Positions = VitPositions.SinCos
                    },
                    6
                ] do
                test $"{name}: finite differences" {
                    use scope = torch.NewDisposeScope()
                    use model = initialised v
                    lively model
                    let x = images 2 side
                    let weights = images 1 6 |> _.flatten().narrow(0, 0, 24).view(2L, 12L)
                    let loss () = (model.call x * weights).sum()
                    (loss ()).backward()
                    use _ = torch.no_grad ()

                    for parameter, p in parameters model do
                        Expect.isNotNull p.grad $"{parameter} is reached"
                        let gradient = doubles p.grad
                        let flat = p.view -1L

                        for i in [ 0; gradient.Length / 2; gradient.Length - 1 ] do
                            let at delta =
                                use _ = torch.NewDisposeScope()
                                let e = flat[int64 i]
                                let before = e.item<float>()
                                e.fill_ ((before + delta: float).ToScalar()) |> ignore
                                let value = (loss ()).item<float>()
                                e.fill_ (before.ToScalar()) |> ignore
                                value

                            let slope = (at 1e-5 - at -1e-5) / 2e-5

                            Expect.isLessThan
                                (abs (slope - gradient[i]))
                                (1e-6 * max 1. (abs slope))
                                $"{parameter}[{i}]: {slope}, {gradient[i]}"
                }

            test "in float32 a crop of 24 pixels trains the positions of 32" {
                use scope = torch.NewDisposeScope()
                use model = initialised SmallVit
                let x = (images 2 24).``to`` torch.float32
                (model.call x).square().sum().backward()
                let positions = (Map.ofList (parameters model))["pos_embed"]

                let reached =
                    doubles positions.grad
                    |> Array.chunkBySize 128
                    |> Array.map (Array.exists ((<>) 0.))

                Expect.all reached id "every position"
            }
        ]

let private structure =
    testList
        "structure"
        [
            test "at their own size positions are those learned" {
                use scope = torch.NewDisposeScope()
                use model = initialised tiny
                let learned = (Map.ofList (parameters model))["pos_embed"]
                let positions = model.Positions(torch.zeros (1L, 3L, 8L, 8L))
                Expect.equal (distance positions (learned.narrow (1, 1, 16))) 0. "bit by bit"
            }

            test "layers, tokens, map and pooling are parts of one pass" {
                use _ = torch.no_grad ()

                for pool in [ VitPool.Cls; VitPool.Mean ] do
                    for registers in [ 0; 3 ] do
                        use scope = torch.NewDisposeScope()

                        let v =
                            { tiny with
                                Depth = 3
                                Pool = pool
                                Registers = registers
                            }

                        use model = initialised v
                        lively model
                        Expect.equal (List.ofSeq model.Layers) (v :> IBackbone).Layers "layers known without building"
                        Expect.equal model.FeatureCount 12 "features"
                        let x = images 2 6
                        let h = model.call x
                        let tokens = model.Tokens x
                        Expect.equal tokens.shape [| 2L; int64 (1 + registers + 9); 12L |] "tokens"
                        let patches = tokens.narrow (1, int64 (1 + registers), 9L)
                        let map = model.Map x
                        Expect.equal map.shape [| 2L; 12L; 3L; 3L |] "map"

                        Expect.equal
                            (distance (map.select(2, 1).select(2, 2)) (patches.select (1, 5)))
                            0.
                            "where patches lie"

                        let pooled (t: torch.Tensor) =
                            if pool = VitPool.Cls then
                                t.select (1, 0)
                            else
                                t.narrow(1, int64 (1 + registers), 9L).mean([| 1L |])

                        Expect.isLessThan (distance h (pooled tokens)) 1e-12 "h"
                        Expect.isLessThan (distance h (model.Layer(x, "h"))) 1e-12 "layer h"

                        for depth in 1..2 do
                            let inner = model.Norm(model.Blocks(model.Sequence(model.Embed x), Nullable depth))

                            Expect.isLessThan
                                (distance (model.Layer(x, $"block{depth}")) (pooled inner))
                                1e-12
                                $"block{depth}"

                        for block in 1..3 do
                            let attention = model.Attention(x, Nullable block)
                            Expect.equal attention.shape [| 2L; 3L; tokens.shape[1]; tokens.shape[1] |] "attention"
                            let sums = attention.sum ([| -1L |])
                            Expect.isLessThan (distance sums (torch.ones_like sums)) 1e-12 "rows sum to 1"

                        Expect.equal (distance (model.Attention x) (model.Attention(x, Nullable 3))) 0. "the last block"
            }

            test "positions, not order, tell patches apart" {
                use scope = torch.NewDisposeScope()
                use _ = torch.no_grad ()
                use model = initialised { tiny with Registers = 1 }
                lively model
                let patches = model.Embed(images 2 8)
                let order = torch.tensor [| for i in 0L .. 15L -> (5L * i + 3L) % 16L |]

                let encode (p: torch.Tensor) =
                    model.Norm(model.Blocks(model.Sequence p))

                let moved = encode (patches.index_select (1, order))
                let expected = encode patches

                Expect.isLessThan
                    (distance (moved.narrow (1, 0, 2)) (expected.narrow (1, 0, 2)))
                    1e-12
                    "CLS and register"

                Expect.isLessThan
                    (distance (moved.narrow (1, 2, 16)) (expected.narrow(1, 2, 16).index_select(1, order)))
                    1e-12
                    "patches"

                let some = encode (patches.index_select (1, order.narrow (0, 0, 4)))
                Expect.equal some.shape [| 2L; 6L; 12L |] "a part of the patches"
            }

            test "initial weights" {
                use model =
                    initialised
                        { VitTiny 32 4 with
                            Depth = 2
                            Registers = 4
                            LayerScale = Some 1e-4
                        }

                for name, p in parameters model do
                    let x = doubles p

                    if name = "patch_embed.proj.weight" || name = "patch_embed.proj.bias" then
                        let bound = 1. / sqrt 48.
                        Expect.all x (fun v -> abs v <= bound) name
                        Expect.isGreaterThan (Array.max x) (0.95 * bound) name
                    elif name.Contains "norm" && name.EndsWith "weight" then
                        Expect.all x ((=) 1.) name
                    elif name.EndsWith "bias" then
                        Expect.all x ((=) 0.) name
                    elif name.EndsWith "gamma" then
                        Expect.all x ((=) (float 1e-4f)) name
                    else
                        let deviation = sqrt (Array.averageBy (fun v -> v * v) x)
                        Expect.isLessThan (abs (deviation / 0.02 - 1.)) (4. / sqrt (float x.Length)) name
            }

            test "a twin has the same shapes, and its weights wait" {
                use model = initialised { tiny with Registers = 1 }
                use twin = model.Twin()

                let shapes m =
                    parameters m |> List.map (fun (n, p) -> n, List.ofArray p.shape)

                Expect.equal (shapes twin) (shapes model) "names and shapes"
                let cls = parameters twin |> List.find (fun (n, _) -> n = "cls_token") |> snd
                Expect.all (doubles cls) Double.IsNaN "not set"
            }

            test "passes leave nothing behind" {
                use model =
                    initialised
                        { tiny with
                            Registers = 1
                            DropPath = 0.5
                            LayerScale = Some 1.
                        }

                use x = (images 4 6).``to`` torch.float32

                let once () =
                    use _ = torch.NewDisposeScope()
                    (model.call x).square().sum().backward()
                    use _ = torch.no_grad ()
                    model.Attention x |> ignore
                    model.Map x |> ignore
                    model.Layer(x, "block1") |> ignore

                once ()
                let before = LiveTensors.settled ()

                for _ in 1..3 do
                    once ()

                Expect.equal torch.Tensor.TotalCount before "live tensors"

                let h = model.call x
                Expect.equal torch.Tensor.TotalCount (before + 1L) "without a scope around it, one tensor"
                h.Dispose()
            }

            test "what cannot be is refused" {
                let refused what f =
                    Expect.throwsT<ArgumentException> (fun () -> f () |> ignore) what

                refused "patch" (fun () -> build { tiny with Size = 9 })
                refused "heads" (fun () -> build { tiny with Heads = 5 })
                refused "depth" (fun () -> build { tiny with Depth = 0 })
                refused "drop path" (fun () -> build { tiny with DropPath = 1. })
                use model = initialised tiny
                use grey = torch.zeros (1L, 1L, 8L, 8L)
                use odd = torch.zeros (1L, 3L, 8L, 7L)
                use good = torch.zeros (1L, 3L, 8L, 8L)
                refused "channels" (fun () -> model.call grey)
                refused "side" (fun () -> model.call odd)
                refused "layer" (fun () -> model.Layer(good, "block2"))

                Expect.throwsT<ArgumentOutOfRangeException>
                    (fun () -> model.Attention(good, Nullable 3) |> ignore)
                    "block"
            }

            test "a record tells its problems before anything is built" {
                let problems (v: Vit) =
                    (v :> IBackbone).Problems |> List.map _.Where

                Expect.isEmpty (problems SmallVit) "small"
                Expect.isEmpty (problems (VitBase 224 16)) "base"
                Expect.equal (problems { tiny with Size = 9 }) [ "Size" ] "size"
                Expect.equal (problems { tiny with Heads = 5 }) [ "Heads" ] "heads"
                Expect.equal (problems { tiny with DropPath = 1. }) [ "DropPath" ] "drop path"
                Expect.equal (problems { tiny with MlpRatio = 0. }) [ "MlpRatio" ] "MLP"
                Expect.equal (problems { tiny with LayerScale = Some 0. }) [ "LayerScale" ] "layer scale"
                Expect.equal (problems { tiny with Depth = 0 }) [ "Depth" ] "depth"

                Expect.equal
                    (problems
                        { tiny with
                            Width = 6
                            Positions = VitPositions.SinCos
                        })
                    [ "Width" ]
                    "sine-cosine"

                Expect.equal
                    ({ SmallVit with Registers = 4 } :> IBackbone).Describe
                    "ViT width 128, depth 4, 4 heads, patch 4 at 32 px, learned positions, CLS, 4 registers"
                    "in words"
            }
        ]

let private stochasticDepth =
    testList
        "stochastic depth"
        [
            test "in evaluation it is not there" {
                use scope = torch.NewDisposeScope()
                use plain = initialised tiny
                use model = initialised { tiny with DropPath = 0.9 }
                model.eval ()
                let x = (images 3 8).``to`` torch.float32
                Expect.equal (distance (model.call x) (plain.call x)) 0. "bit by bit"
                model.train ()
                use generator = torch.manual_seed 1L
                Expect.isGreaterThan (distance (model.call x) (plain.call x)) 0. "in training it is"

                let first (m: VisionTransformer) =
                    m.Blocks(m.Sequence(m.Embed x), Nullable 1)

                Expect.equal (distance (first model) (first plain)) 0. "the first block is never left out"
            }

            test "an image leaves a branch out or has it at 1/keep" {
                use scope = torch.NewDisposeScope()
                use _ = torch.no_grad ()
                let keep = 0.75

                use block =
                    new TransformerBlock(TransformerBlockOptions(8, 2, 2., true, 1e-6, Nullable(), 1. - keep, false))

                SeededInitialisation.Apply(block, 1UL)
                lively block
                // Attention alone, so that what is left out shows in the sum.
                for name, p in parameters block do
                    if name.StartsWith "mlp.fc2" then
                        p.zero_ () |> ignore

                let n = 4000
                let one = images 1 4 |> _.view(1L, 6L, 8L)
                let x = one.expand (int64 n, 6L, 8L)
                block.eval ()
                let branch = block.call one - one
                block.train ()
                use generator = torch.manual_seed 5L
                let factors = ((block.call x - one) * branch).sum([| 1L; 2L |]) / branch.square().sum()
                let factors = doubles factors

                for f in factors do
                    Expect.isLessThan (min (abs f) (abs (f - 1. / keep))) 1e-10 "one of two values"

                // Four standard errors of a share.
                let kept = factors |> Array.averageBy (fun f -> if f > 0.5 then 1. else 0.)
                Expect.isLessThan (abs (kept - keep)) (4. * sqrt (keep * (1. - keep) / float n)) "share kept"
                Expect.isLessThan (abs (Array.average factors - 1.)) 0.04 "its expectation is the branch"
            }
        ]

[<Tests>]
let tests = testList "vit" [ references; twins; derivatives; structure; stochasticDepth ]

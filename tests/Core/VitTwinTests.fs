/// Vision transformers against loops from the equations and finite differences.
module Tests.Core.VitTwinTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Models
open Tests.Support
open Tests.Support.Networks
open Tests.Support.ReferenceModels
open Tests.Support.VisionTransformers

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

/// Cubic convolution with a = -3/4, borders repeated: weights of the source positions for one output position. DINO adds 0.1 to the wanted length.
let private naiveCubic offset source target i =
    let at = (float i + 0.5) / ((float target + offset) / float source) - 0.5
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

                // With DINO's offset an axis that keeps its length is sampled at another scale too.
                for resizing, offset in [ PositionResizing.Size, 0.; PositionResizing.DinoScale, 0.1 ] do
                    for rows, columns in [ 3, 5; 4, 3; 7, 6; 2, 9 ] do
                        let got =
                            PositionTable.Resize(
                                values.view (1L, 20L, 3L),
                                struct (4, 5),
                                struct (rows, columns),
                                resizing
                            )

                        Expect.equal got.shape [| 1L; int64 (rows * columns); int64 width |] "shape"

                        let want =
                            [|
                                for r in 0 .. rows - 1 do
                                    for c in 0 .. columns - 1 do
                                        for k in 0 .. width - 1 ->
                                            Seq.sum
                                                [
                                                    for y, v in naiveCubic offset 4 rows r do
                                                        for x, h in naiveCubic offset 5 columns c ->
                                                            v * h * table[(y * 5 + x) * width + k]
                                                ]
                            |]

                        Array.iter2
                            (fun w g -> Expect.isLessThan (abs (w - g)) 1e-10 $"{rows}×{columns}")
                            want
                            (doubles got)
            }

            test "a table that mirrors itself does so at any other size, on any grid" {
                use scope = torch.NewDisposeScope()
                let side = 8

                let mirrored (n: int) i =
                    cos (1.3 * (float i - float (n - 1) / 2.))

                let values =
                    [|
                        for r in 0 .. side - 1 do
                            for c in 0 .. side - 1 -> mirrored side r + 2. * mirrored side c
                    |]

                let table = (tensor [| 1L; int64 (side * side); 1L |] values)

                for rows, columns in [ 6, 6; 4, 4; 5, 7; 3, 8; 14, 9; 1, 2 ] do
                    let got =
                        PositionTable
                            .Resize(table, struct (side, side), struct (rows, columns))
                            .view(int64 rows, int64 columns)

                    for axis in [ 0L; 1L ] do
                        Expect.isLessThan (distance got (got.flip axis)) 1e-12 $"{rows}×{columns}, axis {axis}"
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

[<Tests>]
let tests = testList "vit, by loops" [ twins; derivatives ]

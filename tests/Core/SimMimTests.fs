module Tests.Core.SimMimTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.PatchViews
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private vit =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
        Heads = 3
    }

let private transformer (v: Vit) () : Backbone = (v :> IBackbone).Build 3

/// Its positions are squares of 4 pixels.
let private residual () : Backbone =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.CifarStride2

/// In double precision and evaluation mode, so that images do not see each other through batch norm.
let private simMim (encoder: unit -> Backbone) squared =
    let method = new SimMim(encoder (), squared)
    method.Initialise 3UL
    lively method
    method.Encoder.eval ()
    method

let private token (method: SimMim) =
    parameters (part<PixelHead> method "head")
    |> List.find (fst >> (=) "mask_token")
    |> snd

let private isHidden (rows: int[][]) visible n p = Array.IndexOf(rows[n], p) >= visible

/// Features of every position of one image with each hidden token replaced, one at a time: (positions, d).
let private naiveTokens (method: SimMim) (image: torch.Tensor) hidden =
    let encoder = method.Encoder :?> VisionTransformer
    let projected = encoder.Project image
    let places = encoder.Positions image
    let at (rows: torch.Tensor) p = rows.narrow (1, int64 p, 1L)

    let sequence =
        encoder.Sequence(
            torch.cat (
                [|
                    for p in 0 .. int projected.shape[1] - 1 ->
                        (if hidden p then token method else at projected p).add(at places p)
                |],
                1L
            )
        )

    let all = encoder.Norm(encoder.Blocks sequence)
    all.narrow(1, 1L + int64 encoder.Options.Registers, projected.shape[1]).squeeze 0

/// The same of a residual network: pixels replaced one square at a time.
let private naiveMap (method: SimMim) side (image: torch.Tensor) hidden =
    let filled = image.clone ()
    let colour = doubles (token method)
    let columns = int image.shape[3] / side

    for p in 0 .. int image.shape[2] / side * columns - 1 do
        if hidden p then
            for c in 0..2 do
                for i in 0 .. side - 1 do
                    for j in 0 .. side - 1 do
                        filled[0L, int64 c, int64 (p / columns * side + i), int64 (p % columns * side + j)] <-
                            torch.tensor (colour[c], dtype = torch.float64)

    (method.Encoder.Map filled).flatten(2).squeeze(0).transpose(0, 1)

/// The head as a 1×1 convolution and a pixel shuffle: (1, 3, H, W). The shuffle counts a square's values channel by channel.
let private shuffled (method: SimMim) (features: torch.Tensor) (rows: int) (columns: int) (square: int) =
    let head = parameters (part<PixelHead> method "head") |> Map.ofList

    let channelFirst (t: torch.Tensor) =
        t
            .reshape([| int64 square; int64 square; 3L; -1L |])
            .permute(2, 0, 1, 3)
            .reshape([| int64 (3 * square * square); -1L |])

    let map = features.transpose(0, 1).reshape(1L, features.shape[1], int64 rows, int64 columns)

    let kernel = (channelFirst head["pred.weight"]).unsqueeze(-1).unsqueeze -1
    let bias = (channelFirst head["pred.bias"]).flatten()

    torch.nn.functional.pixel_shuffle (torch.nn.functional.conv2d (map, kernel, bias), int64 square)

let private cases =
    [
        "transformer", transformer vit, 4, 4
        "transformer, registers", transformer { vit with Registers = 2 }, 4, 4
        "transformer, fixed positions",
        transformer
            { vit with
                Positions = VitPositions.SinCos
            },
        4,
        4
        "transformer, masks of several patches", transformer vit, 8, 4
        "residual network", residual, 4, 4
        "residual network, masks of two positions", residual, 8, 4
        "residual network, masks of half a position", residual, 2, 4
    ]

let private laws =
    testList
        "laws"
        [
            test "it is the paper's model, square by square" {
                for name, encoder, side, square in cases do
                    for squared in [ false; true ] do
                        use scope = torch.NewDisposeScope()
                        use method = simMim encoder squared
                        let patches = (16 / side) * (16 / side)
                        let visible = patches / 4
                        let x, rows = images 3 16, orders 3 patches
                        let output = forward method (MaskedView(x, indices rows, visible))

                        let errors =
                            [|
                                for n in 0..2 do
                                    let image = x.narrow (0, int64 n, 1L)

                                    let features =
                                        match method.Encoder with
                                        | :? VisionTransformer ->
                                            // A hidden square of the mask may be several patches.
                                            let across, times = 16 / square, side / square

                                            naiveTokens method image (fun p ->
                                                isHidden
                                                    rows
                                                    visible
                                                    n
                                                    (p / across / times * (16 / side) + p % across / times))
                                        | _ -> naiveMap method side image (isHidden rows visible n)

                                    let predicted = shuffled method features (16 / square) (16 / square) square

                                    for p in rows[n][visible..] do
                                        Array.map2
                                            (fun a b -> if squared then (a - b) ** 2. else abs (a - b))
                                            (patchOf side predicted 0 p)
                                            (patchOf side x n p)
                                        |> Array.average
                            |]

                        close name 1e-9 (Array.average errors) (scalar output.Loss)
                        Expect.equal output.Embedding.shape [| 3L; int64 method.Encoder.FeatureCount |] name
            }

            test "nothing that the encoder says depends on hidden pixels" {
                for name, encoder, side, _ in cases do
                    use scope = torch.NewDisposeScope()
                    use method = simMim encoder false
                    let patches = (16 / side) * (16 / side)
                    let visible = patches / 4
                    let x, rows = images 2 16, orders 2 patches

                    let said x =
                        doubles (forward method (MaskedView(x, indices rows, visible))).Embedding

                    Expect.equal
                        (said (changed side (isHidden rows visible) x))
                        (said x)
                        $"{name}: hidden pixels changed"

                    let seen n p = not (isHidden rows visible n p)
                    Expect.notEqual (said (changed side seen x)) (said x) $"{name}: visible ones changed"
            }

            test "CLS, though nothing is predicted from it, and what stands for hidden patches learn" {
                for encoder in
                    [
                        transformer vit
                        transformer { vit with Depth = 1 }
                        transformer { vit with Registers = 2 }
                        residual
                    ] do
                    use scope = torch.NewDisposeScope()
                    use method = simMim encoder false
                    method.Encoder.train ()
                    (forward method (MaskedView(images 3 16, indices (orders 3 16), 5))).Loss.backward()

                    for struct (prefix, m) in method.Trained do
                        for name, p in parameters m do
                            Expect.isGreaterThan (Array.sumBy abs (doubles p.grad)) 0. $"{prefix}.{name}"
            }

            test "views need not be square" {
                for encoder in [ transformer vit; residual ] do
                    use scope = torch.NewDisposeScope()
                    use method = simMim encoder false
                    let x, rows = imagesOf 8 24 2, orders 2 12
                    let output = forward method (MaskedView(x, indices rows, 5))

                    let errors =
                        [|
                            for n in 0..1 do
                                let image = x.narrow (0, int64 n, 1L)

                                let features =
                                    match method.Encoder with
                                    | :? VisionTransformer -> naiveTokens method image (isHidden rows 5 n)
                                    | _ -> naiveMap method 4 image (isHidden rows 5 n)

                                let predicted = shuffled method features 2 6 4

                                for p in rows[n][5..] do
                                    Array.map2 (fun a b -> abs (a - b)) (patchOf 4 predicted 0 p) (patchOf 4 x n p)
                                    |> Array.average
                        |]

                    close "loss" 1e-9 (Array.average errors) (scalar output.Loss)
            }

            test "there are no levels without images" {
                use method = simMim residual false
                Expect.equal (method.Levels 8) (LossLevels(Nullable(), Nullable())) "levels"
            }

            test "what does not fit is refused" {
                use scope = torch.NewDisposeScope()
                use other = new LightnessEncoder(preset (), [| 0.5; 0.5; 0.5 |], [| 0.2; 0.2; 0.2 |])

                refused "a vision transformer or a residual network; received LightnessEncoder" (fun () ->
                    new SimMim(other, false))

                let run encoder (side: int) patches visible =
                    use method = simMim encoder false
                    forward method (MaskedView(images 2 side, indices (orders 2 patches), visible))

                refused "patches of 2 pixels, no multiple of the encoder's 4" (fun () -> run (transformer vit) 16 64 9)
                refused "None of the 16 patches is hidden" (fun () -> run residual 16 16 16)
                refused "15 patches are no squares" (fun () -> run residual 16 15 2)
                refused "one position for 4×4 pixels, which do not cover views of 18×18" (fun () -> run residual 18 9 2)
            }
        ]

let private pictures =
    testList
        "pictures"
        [
            test "input, masked, reconstruction; visible patches are the input's" {
                for name, encoder, side, _ in cases do
                    use scope = torch.NewDisposeScope()
                    use method = simMim encoder false
                    let patches = (16 / side) * (16 / side)
                    let visible = patches / 2
                    let x, rows = images 2 16, orders 2 patches
                    let shown = picture method (MaskedView(x, indices rows, visible))
                    Expect.equal (List.ofSeq shown.Columns) [ "input"; "masked"; "reconstruction" ] "columns"
                    Expect.equal shown.Images.shape [| 2L; 3L; 3L; 16L; 16L |] "rows, columns, image"
                    let column i = shown.Images.select (1, int64 i)
                    Expect.equal (doubles (column 0)) (doubles x) "input"

                    let errors =
                        [|
                            for n in 0..1 do
                                for rank, p in Array.indexed rows[n] do
                                    let input, masked, made =
                                        patchOf side x n p, patchOf side (column 1) n p, patchOf side (column 2) n p

                                    if rank < visible then
                                        Expect.equal (masked, made) (input, input) $"{name}: visible"
                                    else
                                        Expect.all masked ((=) 0.) $"{name}: hidden"
                                        Array.map2 (fun a b -> abs (a - b)) input made |> Array.average
                        |]

                    // In evaluation mode already, so that this is the loss of the same networks.
                    close
                        name
                        1e-9
                        (scalar (forward method (MaskedView(x, indices rows, visible))).Loss)
                        (Array.average errors)

            }

            test "the networks are as they were, running statistics too, and no tensors are left" {
                let x, rows = images 2 16, indices (orders 2 16)
                use method = simMim residual false

                for struct (_, m) in method.Trained do
                    m.train ()

                let statistics () =
                    [| for struct (_, b) in method.Encoder.named_buffers () -> doubles b |]

                let before = statistics ()

                let draw () =
                    use scope = torch.NewDisposeScope()
                    picture method (MaskedView(x, rows, 5)) |> ignore

                draw ()
                let live = LiveTensors.settled ()
                draw ()
                Expect.equal torch.Tensor.TotalCount live "live tensors"
                Expect.equal (statistics ()) before "running statistics"
                Expect.isTrue method.Encoder.training "encoder"
                x.Dispose()
                rows.Dispose()
            }
        ]

[<Tests>]
let tests = testList "SimMIM" [ laws; pictures ]

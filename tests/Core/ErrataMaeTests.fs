module Tests.Core.ErrataMaeTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Augment
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open Tests.Support.PatchViews
open Tests.Support.Networks
open Tests.Support.Numbers

let private vit () =
    let v =
        { VitTiny 16 4 with
            Width = 24
            Depth = 2
            Heads = 3
        }

    (v :> IBackbone).Build 3 :?> VisionTransformer

let private visible = 4

let private mae () =
    let method = new Mae(vit (), MaeOptions(MaeDecoderOptions(16, 2, 2, 4., 1e-6), true))

    method.Initialise 3UL
    lively method
    method

let private layers (m: torch.nn.Module) =
    let all = dict [ for struct (name, layer) in m.named_modules () -> name, layer ]
    fun name -> all[name] :?> torch.nn.Module<torch.Tensor, torch.Tensor>

let private maskToken (m: torch.nn.Module) =
    parameters m |> List.find (fst >> (=) "mask_token") |> snd

/// The documents' MAE on the same networks: embedded visible tokens and mask tokens go straight to the last linear layer.
let private documents (method: Mae) (x: torch.Tensor) (order: torch.Tensor) =
    let encoder, decoder = part<VisionTransformer> method "encoder", part<MaeDecoder> method "decoder"
    let kept = order.narrow(1, 0, int64 visible).unsqueeze(-1).expand(-1L, -1L, 24L)

    let latent = encoder.Norm(encoder.Blocks(encoder.Sequence((encoder.Embed x).gather(1, kept))))

    let masks = (maskToken decoder).expand(x.shape[0], order.shape[1] - int64 visible, 16L)

    let all =
        torch.cat ([| (layers decoder "embed").call(latent.narrow (1, 1, int64 visible)); masks |], 1L)

    (layers decoder "pred").call all // (N, P, 48), visible first

/// What ours predicts of the hidden patches.
let private ours (method: Mae) (x: torch.Tensor) (order: torch.Tensor) =
    let encoder, decoder = part<VisionTransformer> method "encoder", part<MaeDecoder> method "decoder"
    let kept = order.narrow(1, 0, int64 visible).unsqueeze(-1).expand(-1L, -1L, 24L)

    let latent = encoder.Norm(encoder.Blocks(encoder.Sequence((encoder.Embed x).gather(1, kept))))

    decoder.Predict(latent, order, struct (4, 4))

let private spread (rows: torch.Tensor) =
    doubles (rows.flatten(0, 1).sub(rows.select(0, 0L).select(0, 0L)).abs().max())
    |> Array.head

let private eighth =
    [
        test "erratum 8: without blocks and positions every hidden patch of every image is predicted alike" {
            use scope = torch.NewDisposeScope()
            use method = mae ()
            let x, order = images 3 16, indices (orders 3 16)
            let theirs = (documents method x order).narrow(1, int64 visible, 12L)
            Expect.isLessThan (spread theirs) 1e-12 "theirs: one prediction"
            let other = x.mul ((-1.).ToScalar())
            let elsewhere = (documents method other order).narrow(1, int64 visible, 12L)
            Expect.isLessThan (spread (torch.cat ([| theirs; elsewhere |], 0L))) 1e-12 "theirs: whatever the image"
            let predicted = ours method x order
            Expect.isGreaterThan (spread predicted) 1e-3 "ours differ"

            let distance =
                Array.map2 (fun a b -> abs (a - b)) (doubles predicted) (doubles (ours method other order))

            Expect.isGreaterThan (Array.max distance) 1e-3 "ours depend on the image"
        }

        test "erratum 8: encoder and decoder blocks learn nothing from hidden patches there, everything learns here" {
            let silent (loss: Mae -> torch.Tensor -> torch.Tensor -> torch.Tensor) =
                use scope = torch.NewDisposeScope()
                use method = mae ()
                (loss method (images 3 16) (indices (orders 3 16))).backward()

                [
                    for struct (prefix, m) in method.Trained do
                        for name, p in parameters m do
                            if isNull p.grad || Array.forall ((=) 0.) (doubles p.grad) then
                                $"{prefix}.{name}"
                ]

            // It returns no loss; with MAE's own loss added to what it predicts:
            let theirs =
                silent (fun method x order ->
                    let hidden = TokenRows.Take(MaskedPatchLoss.Patchify(x, 4), order.narrow (1, int64 visible, 12L))

                    MaskedPatchLoss.MeanSquare(
                        (documents method x order).narrow(1, int64 visible, 12L),
                        MaskedPatchLoss.Normalise hidden
                    ))

            for name in
                [
                    "encoder.patch_embed.proj.weight"
                    "encoder.blocks.0.attn.qkv.weight"
                    "decoder.embed.weight"
                    "decoder.blocks.0.attn.qkv.weight"
                    "decoder.blocks.1.mlp.fc2.weight"
                ] do
                Expect.contains theirs name "theirs: no gradient"

            Expect.isEmpty
                (silent (fun method x order -> (forward method (MaskedView(x, order, visible))).Loss))
                "ours: every parameter"
        }
    ]

/// The documents' loss: errors times the mask, averaged over all pixels.
let private documentsLoss (predicted: torch.Tensor) (target: torch.Tensor) (mask: torch.Tensor) =
    predicted.sub(target).square().mul(mask.unsqueeze -1).mean()

let private ninth =
    [
        test "erratum 9: an encoder that copies its input solves the documents' task, and not ours" {
            use scope = torch.NewDisposeScope()
            let x, order = images 3 16, indices (orders 3 16)
            let patches = MaskedPatchLoss.Patchify(x, 4)

            let mask =
                HiddenPatches.Mask(MaskedView(x, order, visible), struct (4, 4), 1).flatten(1).``to`` torch.float64

            // The identity as encoder and head.
            Expect.equal (scalar (documentsLoss patches patches mask)) 0. "theirs: 0, and nothing was learned"
            let masked = patches.mul (mask.unsqueeze(-1).neg().add((1.).ToScalar()))

            let hidden t =
                TokenRows.Take(t, order.narrow (1, int64 visible, 12L))

            Expect.isGreaterThan
                (scalar (MaskedPatchLoss.MeanAbsolute(hidden masked, hidden patches)))
                0.1
                "ours: what is hidden is not there to be copied"
        }

        test "erratum 9: the documents' prediction of a hidden patch depends on its own pixels, ours does not" {
            use scope = torch.NewDisposeScope()
            use method = new SimMim(vit (), false)
            method.Initialise 3UL
            lively method
            let encoder, head = method.Encoder :?> VisionTransformer, part<PixelHead> method "head"
            let order = indices (orders 3 16)

            let mask =
                HiddenPatches.Mask(MaskedView(images 3 16, order, visible), struct (4, 4), 4).unsqueeze(1).``to``
                    torch.float64

            /// Size of the gradient at hidden pixels of the input.
            let leak (loss: torch.Tensor -> torch.Tensor) =
                let leaf = (images 3 16).requires_grad_()
                (loss leaf).backward()
                scalar (leaf.grad.abs().mul(mask).sum())

            let theirs x =
                let tokens = (encoder.Tokens x).narrow(1, 1, 16)
                (head.call (TokenRows.Take(tokens, order.narrow (1, int64 visible, 12L)))).square().mean()

            Expect.isGreaterThan (leak theirs) 1e-3 "theirs"
            Expect.equal (leak (fun x -> (forward method (MaskedView(x, order, visible))).Loss)) 0. "ours"
        }

        test "erratum 9: the documents' mean counts visible pixels as solved, so that the loss follows the mask ratio" {
            use scope = torch.NewDisposeScope()
            let target = torch.zeros ([| 2L; 16L; 48L |], dtype = torch.float64)
            let wrong = torch.ones_like target

            for hidden in [ 2; 8; 14 ] do
                let order = indices (orders 2 16)

                let view = MaskedView(images 2 16, order, 16 - hidden)

                let mask = HiddenPatches.Mask(view, struct (4, 4), 1).flatten(1).``to`` torch.float64

                let part t = TokenRows.Take(t, view.HiddenIndices())

                Expect.floatClose
                    Accuracy.high
                    (scalar (documentsLoss wrong target mask))
                    (float hidden / 16.)
                    "theirs: an error of 1 everywhere costs the ratio"

                Expect.floatClose
                    Accuracy.high
                    (scalar (MaskedPatchLoss.MeanAbsolute(part wrong, part target)))
                    1.
                    "ours: 1"
        }
    ]

/// The documents' "block" mask: one random permutation of the patches for the whole batch.
let private plainPermutation seed images patches hidden =
    let mutable random = Philox(seed, RandomPurpose.Evaluation)
    let order = Array.zeroCreate<int> patches
    random.Permutation(Span order)
    let mask = Array.init patches (fun p -> Array.IndexOf(order, p) < hidden)
    Array.replicate images mask

let private blockwise seed images rows columns hidden =
    let mask = BlockPatches(16, 0.3)

    Array.init images (fun image ->
        let mutable random = Philox(seed, RandomPurpose.Mask, 0u, uint32 image)
        let drawn = Array.zeroCreate<bool>(rows * columns)
        mask.Draw(&random, rows, columns, hidden, Span drawn)
        drawn)

/// Hidden neighbours of a hidden patch, of those that it has, over all images.
let private touching rows columns (masks: bool[][]) =
    let pairs =
        [|
            for mask in masks do
                for y in 0 .. rows - 1 do
                    for x in 0 .. columns - 1 do
                        if mask[y * columns + x] then
                            for dy, dx in [ 0, 1; 1, 0; 0, -1; -1, 0 ] do
                                let y, x = y + dy, x + dx

                                if y >= 0 && y < rows && x >= 0 && x < columns then
                                    if mask[y * columns + x] then 1. else 0.
        |]

    Array.average pairs

let private eleventh =
    [
        test "erratum 11: the documents hide the same patches of every image, ours others of each" {
            let images, hidden = 32, 78
            let theirs = plainPermutation 5UL images 196 hidden
            Expect.hasLength (Array.distinct theirs) 1 "theirs: one mask for the batch"
            let own = blockwise 5UL images 14 14 hidden
            Expect.hasLength (Array.distinct own) images "ours: one for each image"
            Expect.all own (fun mask -> (Array.filter id mask).Length = hidden) "and 40 % of each"
        }

        test "erratum 11: a permutation makes no blocks, ours hang together" {
            let masks draw =
                [|
                    for seed in 1UL .. 40UL do
                        yield! draw seed
                |]

            let theirs = touching 14 14 (masks (fun seed -> plainPermutation seed 1 196 78))
            let own = touching 14 14 (masks (fun seed -> blockwise seed 1 14 14 78))
            // Chance: a neighbour is one of the other 77 hidden of 195.
            Expect.isLessThan (abs (theirs - 77. / 195.)) 0.03 "theirs: neighbours are hidden as by chance"
            Expect.isGreaterThan own 0.7 "ours"
        }
    ]

[<Tests>]
let tests = testList "errata: MAE and masks" (eighth @ ninth @ eleventh)

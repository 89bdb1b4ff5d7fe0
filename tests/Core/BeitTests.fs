/// What is particular to BEiT, beside the laws of the kit.
module Tests.Core.BeitTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

let private vocabulary, patch = 9, 4

/// Words by a rule on the pixels of each patch.
type private Rule(rule: torch.Tensor -> torch.Tensor, patch: int) =
    member val Disposed = 0 with get, set

    interface ITokenizer with
        member _.Vocabulary = vocabulary
        member _.Patch = patch
        member _.Tokens images = rule images

    interface IDisposable with
        member t.Dispose() = t.Disposed <- t.Disposed + 1

/// The sum of a patch's values picks the word.
let private bySum (images: torch.Tensor) =
    use scope = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    let n, side = images.shape[0], images.shape[2] / int64 patch

    images
        .reshape(n, 3L, side, int64 patch, side, int64 patch)
        .sum([| 1L; 3L; 5L |])
        .mul((100.).ToScalar())
        .abs()
        .floor()
        .``to``(torch.int64)
        .remainder((int64 vocabulary).ToScalar())
        .flatten(1L)
        .MoveToOuterDisposeScope()

/// The same words whatever the image: 0, 1, 2, … over the patches.
let private byPlace (images: torch.Tensor) =
    let n, side = images.shape[0], images.shape[2] / int64 patch

    torch.tensor
        [|
            for _ in 1L .. n do
                for p in 0L .. side * side - 1L -> p % int64 vocabulary
        |]
    |> fun t -> t.reshape (n, side * side)

let private transformer () =
    new VisionTransformer(
        VitOptions(
            struct (16, 16),
            patch,
            24,
            2,
            3,
            2.,
            1,
            PositionEncoding.Learned,
            TokenPool.Cls,
            Nullable 0.5,
            0.,
            true,
            1e-6,
            3
        )
    )

let private built rule targets =
    let method = new Beit(transformer (), new Rule(rule, patch), targets)
    method.Initialise 3UL
    method

let private images (seed: int64) n =
    use _ = torch.manual_seed seed
    torch.randn (int64 n, 3L, 16L, 16L)

/// Each image's own order of its 16 patches.
let private orders n =
    [|
        for i in 0 .. n - 1 -> [| for p in 0..15 -> int64 ((p * (2 * i + 3) + 5 * i) % 16) |]
    |]

let private masked (x: torch.Tensor) visible =
    let rows = orders (int x.shape[0])
    MaskedView(x, torch.tensor(Array.concat rows).reshape(x.shape[0], 16L), visible)

let private forward (method: Beit) views step =
    let context = StepContext(7UL, step, 100L, 0)
    method.Forward(views, &context)

let private head (method: Beit) : MaskedTokenHead =
    let struct (_, m) = method.Trained[1]
    m :?> MaskedTokenHead

let private parameter (method: Beit) name =
    parameters (head method) |> List.find (fun (n, _) -> n = name) |> snd

[<Tests>]
let tests =
    testList
        "beit"
        [
            test "the orders used here hold each patch once" {
                for row in orders 5 do
                    Expect.equal (Array.sort row) [| 0L .. 15L |] "a permutation"
            }

            test "the loss equals loops: mask token before positions, cross entropy at hidden patches" {
                for visible in [ 0; 6; 15 ] do
                    use scope = torch.NewDisposeScope()
                    use method = built bySum TokenTargets.Real
                    let n = 5
                    let x = images 1L n
                    let output = forward method (masked x visible) 0L

                    use _ = torch.no_grad ()
                    let vit = method.Encoder :?> VisionTransformer
                    let tokens = vit.Project(x).clone()
                    let mask = (parameter method "mask_token").reshape 24L
                    let order = orders n

                    for i in 0 .. n - 1 do
                        for p in order[i][visible..] do
                            tokens.select(0L, int64 i).select(0L, p).copy_ mask |> ignore

                    let sequence = vit.Norm(vit.Blocks(vit.Sequence(tokens.add (vit.Positions x))))
                    let words = doubles (bySum x)

                    let losses =
                        [
                            for i in 0 .. n - 1 do
                                for p in order[i][visible..] do
                                    // CLS and one register come first.
                                    let token = sequence.select(0L, int64 i).select(0L, p + 2L)
                                    let scores = doubles ((head method).call(token.unsqueeze 0L))
                                    let label = int words[i * 16 + int p]
                                    log (Array.sumBy exp scores) - scores[label]
                        ]

                    close $"{visible} visible" 1e-5 (List.average losses) (scalar output.Loss)

                    let pooled =
                        [|
                            for i in 0 .. n - 1 do
                                let seen = if visible = 0 then order[i] else order[i][.. visible - 1]

                                for c in 0L .. 23L do
                                    seen
                                    |> Array.averageBy (fun p ->
                                        scalar (sequence.select(0L, int64 i).select(0L, p + 2L).select(0L, c)))
                        |]

                    Array.iter2 (close "embedding" 1e-4) pooled (doubles output.Embedding)
                    Expect.isNull output.Assignment "no assignment"
            }

            test "the encoder does not see hidden pixels, and sees the others" {
                use scope = torch.NewDisposeScope()
                use method = built byPlace TokenTargets.Real
                let x = images 2L 4
                let views = masked x 6
                let loss = scalar (forward method views 0L).Loss
                let order = orders 4

                let changed (pick: int64[] -> int64) =
                    let y = x.clone ()

                    for i in 0..3 do
                        let p = pick order[i]

                        y
                            .select(0L, int64 i)
                            .narrow(1L, 4L * (p / 4L), 4L)
                            .narrow(2L, 4L * (p % 4L), 4L)
                            .add_((3.).ToScalar())
                        |> ignore

                    scalar (forward method (masked y 6) 0L).Loss

                Expect.equal (changed (fun row -> row[9])) loss "a hidden patch"
                Expect.notEqual (changed (fun row -> row[2])) loss "a visible patch"
            }

            test
                "shuffled words are as frequent as the real ones, another order at each step, the same for the same step" {
                use scope = torch.NewDisposeScope()
                let x = images 3L 6
                use real = built bySum TokenTargets.Real
                use shuffled = built bySum TokenTargets.Shuffled
                let all = masked x 0
                let some = masked x 6

                let loss method views step = scalar (forward method views step).Loss
                Expect.equal (loss shuffled some 4L) (loss shuffled some 4L) "the same step"
                Expect.notEqual (loss shuffled some 5L) (loss shuffled some 4L) "another step"
                Expect.notEqual (loss shuffled some 4L) (loss real some 4L) "not the real ones"
                let context = StepContext(8UL, 4L, 100L, 0)
                Expect.notEqual (scalar (shuffled.Forward(some, &context)).Loss) (loss shuffled some 4L) "another seed"

                // Where scores are the same everywhere and all patches hidden, the loss knows frequencies alone.
                for method in [ real; shuffled ] do
                    use _ = torch.no_grad ()
                    (parameter method "lm_head.weight").zero_() |> ignore

                    (parameter method "lm_head.bias")
                        .copy_(torch.tensor [| for k in 0 .. vocabulary - 1 -> 0.3f * float32 k |])
                    |> ignore

                close "frequencies" 1e-5 (loss real all 0L) (loss shuffled all 0L)
            }

            test "the tokenizer is not trained, not saved, and ends with the method" {
                let tokenizer = new Rule(bySum, patch)
                let method = new Beit(transformer (), tokenizer, TokenTargets.Real)
                Expect.equal [ for struct (name, _) in method.Trained -> name ] [ "encoder"; "head" ] "trained"
                Expect.equal method.State.Count 0 "state"
                Expect.equal method.Teachers.Count 0 "teachers"
                Expect.equal (method.Levels 7) (LossLevels(log (float vocabulary), Nullable())) "levels"
                Expect.equal (Beit.Chance 8192) (log 8192.) "chance"
                method.Dispose()
                Expect.equal tokenizer.Disposed 1 "disposed"
            }

            test "uninformed scores cost ln V" {
                use scope = torch.NewDisposeScope()
                use method = built bySum TokenTargets.Real
                use _ = torch.no_grad ()
                (parameter method "lm_head.weight").zero_() |> ignore
                close "loss" 1e-6 (log (float vocabulary)) (scalar (forward method (masked (images 1L 3) 6) 0L).Loss)
            }

            test "the mask token takes the place of hidden patches, and gradients go where the values came from" {
                use scope = torch.NewDisposeScope()
                use head = new MaskedTokenHead(3, 5)
                SeededInitialisation.Apply(head, 1UL, "head")
                let patches = torch.randn(2L, 4L, 3L).requires_grad_()
                let hidden = (torch.tensor [| 3L; 0L; 1L; 2L |]).reshape(2L, 2L)
                let covered = head.Hide(patches, hidden)
                let token = parameters head |> List.find (fun (n, _) -> n = "mask_token") |> snd

                for n in 0L .. 1L do
                    for p in 0L .. 3L do
                        let isHidden = if n = 0L then p = 3L || p = 0L else p = 1L || p = 2L

                        let expected =
                            if isHidden then
                                token.reshape 3L
                            else
                                patches.select(0L, n).select(0L, p)

                        Expect.equal (doubles (covered.select(0L, n).select(0L, p))) (doubles expected) $"{n}, {p}"

                covered.sum().backward()
                Expect.equal (doubles token.grad) [| 4.; 4.; 4. |] "four hidden patches"
                Expect.equal (scalar (patches.grad.sum ())) 12. "four visible ones"
            }

            test "pictures: what is visible, and with a discrete autoencoder the words and what they look like" {
                use scope = torch.NewDisposeScope()
                let x = images 4L 3
                let views = masked x 6
                let context = StepContext(7UL, 0L, 1L, 0)
                use plain = built bySum TokenTargets.Real
                let picture = plain.Picture(views, &context)
                Expect.equal (List.ofSeq picture.Columns) [ "input"; "masked" ] "a tokenizer that only names"
                Expect.isTrue plain.Encoder.training "training mode is back"
                let order = orders 3

                for i in 0..2 do
                    for at, p in Array.indexed order[i] do
                        let block column =
                            picture.Images
                                .select(0L, int64 i)
                                .select(0L, column)
                                .narrow(1L, 4L * (p / 4L), 4L)
                                .narrow(2L, 4L * (p % 4L), 4L)
                            |> doubles

                        let expected = if at < 6 then block 0L else Array.zeroCreate 48
                        Expect.equal (block 1L) expected $"image {i}, patch {p}"

                let words =
                    new Dvae(
                        resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.CifarStride2,
                        DvaeOptions(
                            vocabulary,
                            4,
                            [| 4; 4; 4 |],
                            1,
                            true,
                            PixelLikelihood.SquaredError,
                            1.,
                            1.,
                            0.,
                            0.,
                            0.,
                            struct (3, 16, 16),
                            [| 0.5; 0.5; 0.5 |],
                            [| 0.2; 0.2; 0.2 |]
                        ),
                        torch.device "cpu"
                    )

                words.Initialise 1UL
                use full = new Beit(transformer (), words, TokenTargets.Real)
                full.Initialise 3UL

                let once () =
                    let picture = full.Picture(views, &context)
                    picture.Columns |> List.ofSeq, picture.Images

                let columns, shown = once ()

                Expect.equal
                    columns
                    [ "input"; "masked"; "words"; "predicted words"; "predicted words decoded" ]
                    "columns"

                Expect.equal shown.shape [| 3L; 5L; 3L; 16L; 16L |] "rows, columns, image"

                // At visible patches the words stay.
                for i in 0..2 do
                    for p in order[i][..5] do
                        let block column =
                            shown
                                .select(0L, int64 i)
                                .select(0L, column)
                                .narrow(1L, 4L * (p / 4L), 4L)
                                .narrow(2L, 4L * (p % 4L), 4L)
                            |> doubles

                        Expect.equal (block 3L) (block 2L) $"image {i}, patch {p}"

                shown.Dispose()
                let before = LiveTensors.settled ()
                (once () |> snd).Dispose()
                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }

            test "what cannot work is refused with what to do" {
                refused "only a vision transformer takes; received ResNet" (fun () ->
                    new Beit(
                        resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.CifarStride2,
                        new Rule(bySum, patch),
                        TokenTargets.Real
                    ))

                refused "names patches of 8 pixels, the encoder sees patches of 4" (fun () ->
                    new Beit(transformer (), new Rule(bySum, 8), TokenTargets.Real))

                use scope = torch.NewDisposeScope()
                use method = built bySum TokenTargets.Real
                let x = images 1L 2
                refused "No patch is hidden" (fun () -> (forward method (masked x 16) 0L).Loss)

                let coarse = MaskedView(x, (torch.tensor [| 0L; 1L; 2L; 3L; 0L; 1L; 2L; 3L |]).reshape(2L, 4L), 2)

                refused "some of 4 patches, but the encoder cuts an image into 16" (fun () ->
                    (forward method coarse 0L).Loss)

                use fewer = built (fun x -> (bySum x).narrow(1L, 0L, 4L)) TokenTargets.Real
                refused "the tokenizer into 4" (fun () -> (forward fewer (masked x 6) 0L).Loss)
            }
        ]

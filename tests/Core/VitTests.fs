/// What vision transformers are made of, refuse and keep; stochastic depth.
module Tests.Core.VitTests

open System
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Models
open Tests.Support
open Tests.Support.Networks
open Tests.Support.ReferenceModels
open Tests.Support.VisionTransformers

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

            test "patches that do not fit views or images are found before anything runs" {
                let problems size crop =
                    let e = MethodKit.tiny "SimCLR" (twoViews [ CropTo(crop, 0.3, 1.0); Flip 0.5 ]) SimClr.Default

                    Check.runs
                        [
                            Run.ofExperiment
                                { e with
                                    Setting =
                                        { e.Setting with
                                            Data =
                                                Shapes
                                                    {
                                                        Train = 256
                                                        Test = 64
                                                        Size = size
                                                        Seed = 5UL
                                                        Statistics = Independent
                                                    }
                                            Backbone = SmallVit
                                        }
                                }
                        ]
                    |> List.map _.Where
                    |> List.distinct

                Expect.isEmpty (problems 32 24) "both fit"
                Expect.equal (problems 30 24) [ "SimCLR: Setting.Backbone.Patch" ] "images"

                Expect.equal
                    (problems 32 22)
                    [ "SimCLR: Augment.first view.Patch"; "SimCLR: Augment.second view.Patch" ]
                    "views"
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
let tests = testList "vit" [ structure; stochasticDepth ]

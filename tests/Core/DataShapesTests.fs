module Tests.Core.DataShapesTests

open System
open System.IO
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles
open TorchSharp

let private options count = ShapesOptions(count, 32, 0UL, "train")

let private render (scene: ShapeScene) size =
    let pixels = Array.zeroCreate<byte>(size * size * 3)
    ShapesRenderer.Render(scene, size, pixels)
    pixels

let private mask (scene: ShapeScene) size =
    let mask = Array.zeroCreate<byte>(size * size)
    ShapesRenderer.Mask(scene, size, mask)
    mask

/// A shape without anything else: white on black.
let private bare kind x y size rotation =
    ShapeScene(
        Kind = kind,
        X = x,
        Y = y,
        Size = size,
        Rotation = rotation,
        Aspect = 1.,
        Mirrored = false,
        Colour = NamedColour("white", 1., 1., 1.),
        Texture = ShapeTexture.Plain,
        TextureStrength = 0.,
        Light = 0.,
        Background = ShapeBackground.Plain,
        BackgroundColour = NamedColour("black", 0., 0., 0.),
        BackgroundSecond = NamedColour("black", 0., 0., 0.),
        BackgroundAngle = 0.,
        Fragments = 0,
        Noise = 0.,
        DetailKey = 1UL
    )

let private kinds = Enum.GetValues<ShapeKind>()

[<Tests>]
let tests =
    testList
        "shapes"
        [
            test "the first images are these, on every machine" {
                use store = ShapesDataset.Render(options 64)

                Expect.equal
                    store.Fingerprint
                    "6d35e25d5fd989e7d25bc8cce7f69ff5fb3357a22829f8b7efea96a8ea67739f"
                    "fingerprint of 64 images of 32 pixels, seed 0"
            }

            test "an image depends on seed, split and position only" {
                use long = ShapesDataset.Render(options 300)
                use short = ShapesDataset.Render(options 40)
                use other = ShapesDataset.Render(ShapesOptions(40, 32, 1UL, "train"))
                use test = ShapesDataset.Render(ShapesOptions(40, 32, 0UL, "test"))
                use validation = ShapesDataset.Render(ShapesOptions(40, 32, 0UL, "val"))

                for i in 0L .. 39L do
                    let pixels = long.Pixels(i).ToArray()
                    Expect.equal (short.Pixels(i).ToArray()) pixels "count makes no difference"
                    Expect.equal (render (ShapesRenderer.Scene(0UL, "train", i)) 32) pixels "threads make no difference"
                    Expect.notEqual (other.Pixels(i).ToArray()) pixels "seed"
                    Expect.notEqual (test.Pixels(i).ToArray()) pixels "split"
                    Expect.notEqual (validation.Pixels(i).ToArray()) (test.Pixels(i).ToArray()) "other splits"
            }

            test "rendered once into a pack, made again when the pack is damaged" {
                withFolder (fun root ->
                    use memory = ShapesDataset.Render(options 50)
                    let path = ShapesDataset.PackPath(options 50, root)

                    let opened () =
                        use store = ShapesDataset.Open(options 50, root)
                        Expect.equal (store.ComputeFingerprint()) memory.Fingerprint "content"
                        Expect.equal (store.Name, store.Split, store.Count) ("shapes", "train", 50) "header"

                    opened ()
                    let written = File.GetLastWriteTimeUtc path
                    opened ()
                    Expect.equal (File.GetLastWriteTimeUtc path) written "not rendered again"
                    truncate 0.5 path |> ignore
                    opened ()
                    Expect.hasLength (filesBelow root) 1 "one pack, no temporaries")
            }

            test "classes are balanced and every nuisance takes all its values" {
                let scenes = [ for i in 0L .. 999L -> ShapesRenderer.Scene(3UL, "train", i) ]
                Expect.allEqual (scenes |> List.countBy _.Label |> List.map snd) 100 "balanced"
                Expect.equal ShapesDataset.ClassNames.Count ShapesDataset.ClassCount "names"

                let values f =
                    scenes |> List.map f |> List.distinct |> List.length

                Expect.equal (values _.Colour.Name) ShapesDataset.ColourNames.Count "colours"

                Expect.equal
                    (values _.Texture, values _.Background, values _.SizeName, values _.Mirrored)
                    (3, 4, 3, 2)
                    "others"

                for s in scenes do
                    let luma = s.Colour.Luma
                    let contrasts = [ s.BackgroundColour.Luma - luma; s.BackgroundSecond.Luma - luma ]
                    Expect.isGreaterThan (contrasts |> List.map abs |> List.min) 0.2 "visible without colour"
            }

            test "captions say what is there" {
                let scene = bare ShapeKind.Star 0.5 0.5 0.4 0.
                Expect.equal scene.Caption "a small white star on a plain background" "caption"
                let scene = ShapesDataset.Scene(options 10, 7L)
                Expect.stringContains scene.Caption "heart" "class 7"
                Expect.stringContains (ShapesDataset.Caption(options 10, 7L)) scene.Colour.Name "colour"
            }

            test "the mask is the silhouette" {
                for kind in kinds do
                    let scene = bare kind 0.45 0.55 0.6 0.2
                    let m = mask scene 48
                    let pixels = render scene 48

                    // White on black: every channel is the coverage itself.
                    for i in 0 .. m.Length - 1 do
                        for c in 0..2 do
                            Expect.equal pixels[3 * i + c] m[i] $"{kind}"

                    Expect.isTrue (Array.contains 255uy m && Array.contains 0uy m) "inside and outside"
            }

            test "coverage agrees with counting points (slow twin)" {
                // 16 × 16 points in each pixel, inside where a mask of 16 times the size says so.
                let size, fine = 32, 16

                for kind in kinds do
                    let scene = bare kind 0.48 0.52 0.62 -0.15
                    let m = mask scene size
                    let large = mask scene (size * fine)
                    let mutable worst, total = 0., 0.

                    for row in 0 .. size - 1 do
                        for column in 0 .. size - 1 do
                            let mutable inside = 0

                            for y in 0 .. fine - 1 do
                                for x in 0 .. fine - 1 do
                                    if large[(row * fine + y) * size * fine + column * fine + x] > 127uy then
                                        inside <- inside + 1

                            let share = float inside / float (fine * fine)
                            let off = abs (share - float m[row * size + column] / 255.)
                            worst <- max worst off
                            total <- total + off

                    Expect.isLessThan worst 0.5 $"{kind}: corners are the worst"
                    Expect.isLessThan (total / float (size * size)) 0.006 $"{kind}: on average"
            }

            test "no two silhouettes are alike" {
                let masks = [ for kind in kinds -> kind, mask (bare kind 0.5 0.5 0.8 0.) 64 ]

                for k1, a in masks do
                    for k2, b in masks do
                        if k1 < k2 then
                            let both = Array.map2 min a b |> Array.sumBy float
                            let either = Array.map2 max a b |> Array.sumBy float
                            Expect.isLessThan (both / either) 0.87 $"{k1} and {k2}"
            }

            test "a moved pose moves the picture" {
                for kind in kinds do
                    let scene = bare kind 0.5 0.5 0.4 0.1
                    let before = mask scene 32
                    let after = mask (scene.WithPose(0.5 + 4. / 32., 0.5 - 2. / 32., 0.1, 0.4)) 32

                    for row in 2..31 do
                        for column in 0..27 do
                            let a, b = before[row * 32 + column], after[(row - 2) * 32 + column + 4]
                            Expect.isLessThanOrEqual (abs (int a - int b)) 1 "shifted by (4, -2)"

                let square = mask (bare ShapeKind.Square 0.5 0.5 0.5 0.) 32
                let turned = mask (bare ShapeKind.Square 0.5 0.5 0.5 (Math.PI / 2.)) 32

                Expect.isLessThanOrEqual
                    (Array.map2 (fun a b -> abs (int a - int b)) square turned |> Array.max)
                    1
                    "a quarter turn"
            }

            test "sine and cosine by series" {
                for i in -100 .. 100 do
                    let angle = float i * 0.0937
                    let struct (s, c) = ShapeMath.SinCos angle
                    Expect.floatClose Accuracy.veryHigh s (sin angle) "sin"
                    Expect.floatClose Accuracy.veryHigh c (cos angle) "cos"
            }

            test "options that ask for nothing are refused" {
                for bad in
                    [
                        ShapesOptions(0, 32, 0UL, "train")
                        ShapesOptions(1, 7, 0UL, "train")
                        ShapesOptions(1, 32, 0UL, " ")
                    ] do
                    Expect.throwsT<DataException> (fun () -> ShapesDataset.Render(bad).Dispose()) $"{bad}"
            }

            for statistics, most in [ ShapesStatistics.Independent, 0.45f; ShapesStatistics.Natural, 0.50f ] do
                test $"raw pixels do not solve it, {statistics}" {
                    use scope = torch.NewDisposeScope()

                    let load count split =
                        use store = ShapesDataset.Render(ShapesOptions(count, 32, 0UL, split, statistics))

                        let x =
                            Array.concat
                                [
                                    for i in 0 .. count - 1 -> Array.map float32 (store.Pixels(int64 i).ToArray())
                                ]

                        let x = torch.tensor(x).reshape(int64 count, 1024L, 3L)
                        let mean, std = x.mean [| 0L; 1L |], x.std ([| 0L; 1L |])
                        torch.nn.functional.normalize ((x - mean).div(std).reshape(int64 count, 3072L), dim = 1L)

                    let struct (_, neighbours) = (load 1000 "test").mm((load 10_000 "train").t()).topk(20, 1)
                    let votes = torch.zeros (1000L, 10L)
                    let labels = neighbours.remainder (torch.tensor 10L)

                    votes.scatter_add_ (1L, labels, torch.ones_like (labels, dtype = torch.float32))
                    |> ignore

                    let truth = torch.arange(1000L, dtype = torch.int64).remainder(torch.tensor 10L)
                    let accuracy = votes.argmax(1L).eq(truth).to_type(torch.float32).mean().item<float32>()
                    Expect.isLessThan accuracy most "k-NN, k = 20, 10 000 images"
                    Expect.isGreaterThan accuracy 0.15f "above chance"
                }
        ]

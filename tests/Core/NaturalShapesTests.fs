/// Procedural images with natural statistics: what is typical, what a caption says, the second object.
module Tests.Core.NaturalShapesTests

open System
open Expecto
open SslResearch.Core.Data

let private options count =
    ShapesOptions(count, 32, 4UL, "train", ShapesStatistics.Natural)

let private scenes = lazy [ for i in 0L .. 19_999L -> ShapesDataset.Scene(options 20_000, i) ]

/// The value that most of the items have, and its share.
let private most (pick: ShapeScene -> 'a) (items: ShapeScene list) =
    let value, count = items |> List.countBy pick |> List.maxBy snd
    value, float count / float items.Length

let private byClass = lazy (scenes.Value |> List.groupBy _.Label |> List.sortBy fst)

let private mask (scene: ShapeScene) =
    let mask = Array.zeroCreate<byte>(32 * 32)
    ShapesRenderer.Mask(scene, 32, mask)
    mask

let private render (scene: ShapeScene) =
    let pixels = Array.zeroCreate<byte>(32 * 32 * 3)
    ShapesRenderer.Render(scene, 32, pixels)
    pixels

[<Tests>]
let tests =
    testList
        "natural shapes"
        [
            test "what is typical of a class is there half of the time, beside what chance gives" {
                for label, items in byClass.Value do
                    // One half, and of the other half the share of that value among all.
                    let near part what (_, share: float) =
                        Expect.isLessThan (abs (share - (0.5 + 0.5 * part))) 0.035 $"{what} of class {label}: {share}"

                    most _.Colour.Name items |> near (1. / 11.) "colour"
                    most _.Texture items |> near (1. / 5.) "surface"
                    most _.Background items |> near (1. / 6.) "background"
            }

            test "no colour, surface or background tells the class alone, all three together do" {
                let typical =
                    [
                        for _, items in byClass.Value ->
                            fst (most _.Colour.Name items), fst (most _.Texture items), fst (most _.Background items)
                    ]

                let sharing (pick: _ -> 'a) =
                    typical |> List.countBy pick |> List.filter (fun (_, n) -> n > 1) |> List.length

                Expect.equal (sharing (fun (c, _, _) -> c)) 5 "colours of two classes"
                Expect.equal (sharing (fun (_, t, _) -> t)) 5 "surfaces of two classes"
                Expect.isGreaterThan (sharing (fun (_, _, b) -> b)) 3 "backgrounds of several classes"
                Expect.equal (List.distinct typical).Length 10 "all of them"
            }

            test "what is drawn on its own is independent of what is typical" {
                for _, items in byClass.Value do
                    let colour, _ = most _.Colour.Name items
                    let surface, _ = most _.Texture items
                    let both = items |> List.filter (fun s -> s.Colour.Name = colour)
                    let share = both |> List.filter (fun s -> s.Texture = surface) |> List.length |> float
                    Expect.isLessThan (abs (share / float both.Length - 0.6)) 0.06 "surface where the colour is typical"
            }

            test "each scene has a second object of the same class, which shows and has another colour" {
                let hidden, alike =
                    scenes.Value
                    |> List.truncate 1_000
                    |> List.map (fun scene ->
                        let second = nonNull scene.Companion
                        let both = mask scene
                        let first = mask (scene.Alone())
                        let shown = Array.map2 (fun (a: byte) (b: byte) -> a > 127uy && b < 128uy) both first

                        Expect.isTrue
                            (Array.forall2 (fun (a: byte) (b: byte) -> a >= b) both first)
                            "the mask has both"

                        (shown |> Array.filter id |> Array.length < 8), second.Colour.Name = scene.Colour.Name)
                    |> List.unzip

                let count = List.filter id >> List.length
                Expect.isLessThan (count hidden) 20 "nearly hidden ones of 1 000"
                Expect.isLessThan (count alike) 20 "of the same colour, where no other stands out"
            }

            test "pixels of the second object have its colour, and the first is in front" {
                for scene in
                    scenes.Value
                    |> List.filter (fun s -> s.Texture = ShapeTexture.Plain)
                    |> List.truncate 200 do
                    let second = nonNull scene.Companion
                    let both, first = render scene, mask (scene.Alone())
                    let all = mask scene

                    let mean channel =
                        let values =
                            [
                                for i in 0..1023 do
                                    if all[i] = 255uy && first[i] = 0uy then
                                        float both[3 * i + channel] / 255.
                            ]

                        if values.Length < 12 then
                            None
                        else
                            Some(List.average values)

                    // Light from above changes each by at most 22 %, noise by less.
                    [ second.Colour.Red; second.Colour.Green; second.Colour.Blue ]
                    |> List.iteri (fun channel want ->
                        mean channel
                        |> Option.iter (fun got -> Expect.isLessThan (abs (got - want)) (0.05 + 0.22 * want) "colour"))

                    let alone = render (scene.Alone())

                    for i in 0..1023 do
                        if first[i] = 255uy then
                            Expect.equal both[3 * i] alone[3 * i] "in front"
            }

            test "captions name both objects" {
                let scene = scenes.Value[7]
                let second = nonNull scene.Companion
                Expect.stringContains scene.Caption $"{scene.Colour.Name} heart and a" "first"
                Expect.stringContains scene.Caption $" {second.Colour.Name} one on a " "second"
                Expect.stringContains scene.Caption (string scene.Background |> _.ToLowerInvariant()) "background"

                for scene in scenes.Value |> List.truncate 2_000 do
                    Expect.isFalse (scene.Caption.Contains " a orange one") "article"
            }

            test "the first images are these, on every machine" {
                use store = ShapesDataset.Render(options 64)

                Expect.equal
                    store.Fingerprint
                    "5a930921efa115b97f7fb655cc70232f4d39efb9909c01a8e8f1a40383fcb532"
                    "fingerprint"
            }

            test "clips show the same scenes without the second object" {
                let motion =
                    ShapesClips.Motion(ShapesClipsOptions(8, 32, 4, 4UL, "train", ShapesStatistics.Natural), 3L)

                Expect.isNull motion.Start.Companion "alone"
                Expect.equal motion.Start (scenes.Value[3].Alone()) "the scene"
            }

            test "packs of the two kinds have names of their own" {
                let path statistics =
                    ShapesDataset.PackPath(ShapesOptions(10, 32, 1UL, "train", statistics), "root")

                Expect.isTrue
                    ((path ShapesStatistics.Independent).EndsWith "train-10x32px-seed1-v2.sslpack")
                    "as before"

                Expect.stringContains (path ShapesStatistics.Natural) "natural" "natural"
            }
        ]

module Tests.Language.GridTests

open Expecto
open SslResearch
open Tests.Support

let private temperatures =
    Axis.sweep "temperature" [ 0.05; 0.1; 0.2; 0.5; 1.0 ] (fun t e ->
        { e with
            Method = { SimClr.Default with Temperature = t }
        })

let private names (ops: Op list) = ops |> List.map Op.name

[<Tests>]
let tests =
    testList
        "grid"
        [
            test "a product of axes has every combination, the last axis fastest" {
                let cells = Grid.cells Samples.simclr [ Axis.leaveOneOut Samples.simclr.Augment; temperatures ]

                Expect.equal cells.Length 25 "5 augmentations × 5 temperatures"
                Expect.equal cells[0].Labels [ "augmentation", "all"; "temperature", "0.05" ] "first"
                Expect.equal cells[6].Labels [ "augmentation", "without crop"; "temperature", "0.1" ] "seventh"
                let ids = cells |> List.map (Run.ofCell >> _.Id) |> List.distinct
                Expect.equal ids.Length 25 "all different runs"
            }

            test "no axis is the experiment itself" {
                match Grid.cells Samples.simclr [] with
                | [ cell ] -> Expect.equal (Run.ofCell cell).Id (Run.ofExperiment Samples.simclr).Id "the same run"
                | cells -> failtest $"{cells.Length} cells"
            }

            test "leave one out drops one operation in every view" {
                let augmentation = twoViewsOf Samples.view [ Flip 0.5; Solarize 0.2 ]

                let lacking =
                    Augmentation.leaveOneOut augmentation
                    |> List.map (fun (name, a) -> name, a.Views |> List.map (snd >> names))

                Expect.equal
                    lacking
                    [
                        "crop", [ [ "flip"; "jitter"; "gray" ]; [ "flip"; "solarize" ] ]
                        "flip", [ [ "crop"; "jitter"; "gray" ]; [ "solarize" ] ]
                        "jitter", [ [ "crop"; "flip"; "gray" ]; [ "flip"; "solarize" ] ]
                        "gray", [ [ "crop"; "flip"; "jitter" ]; [ "flip"; "solarize" ] ]
                        "solarize", [ [ "crop"; "flip"; "jitter"; "gray" ]; [ "flip" ] ]
                    ]
                    "views"
            }

            test "leaving out a crop to a stated size keeps the size" {
                let rest = Augmentation.without "crop" [ CropTo(24, 0.2, 1.0); Flip 0.5 ]
                Expect.equal rest [ ResizedCrop(1., 1., size = 24, ratio = (1., 1.)); Flip 0.5 ] "a plain resize"
                Expect.equal (Op.outputSize rest) (Some 24) "size"
            }

            test "labels of sweeps read the same everywhere" {
                let axis = Axis.sweep "x" [ Some 1; None ] (fun _ (e: Experiment<SslResearch.Core.Views.TwoViews>) -> e)

                Expect.equal (axis.Values |> List.map _.Label) [ "Some 1"; "none" ] "options"
                Expect.equal (temperatures.Values |> List.map _.Label) [ "0.05"; "0.1"; "0.2"; "0.5"; "1" ] "numbers"
            }

            test "a recipe runs each identity once, with the seeds of all its tables" {
                let fewer =
                    { Samples.simclr with
                        Setting =
                            { Samples.setting with
                                Seeds = [ 2; 7 ]
                            }
                    }

                let recipe =
                    Samples.recipe
                        "r"
                        [
                            Table.compare "a" [ Run.ofExperiment Samples.simclr ] [ Samples.knn ]
                            Table.compare "b" [ Run.ofExperiment fewer; Run.rawPixels Samples.setting ] [ Samples.knn ]
                        ]

                Expect.equal (Recipe.runs recipe |> List.map _.Seeds) [ [ 0; 1; 2; 7 ]; [ 0 ] ] "seeds"
            }

            test "layers that a value states are those of the network" {
                for backbone in [ SmallResNet; ResNet18 ] do
                    use net = backbone.Build 3
                    Expect.equal (List.ofSeq net.Layers) backbone.Layers backbone.Describe
            }
        ]

module Tests.Language.CheckTests

open Expecto
open SslResearch
open Tests.Support

let private comparison runs =
    Samples.recipe "r" [ Table.compare "t" runs [ Samples.knn ] ]

let private one (change: Experiment<SslResearch.Core.Views.TwoViews> -> Experiment<SslResearch.Core.Views.TwoViews>) =
    comparison [ Run.ofExperiment (change Samples.simclr) ]

let private withTrain change (e: Experiment<'Views>) =
    { e with
        Setting =
            { e.Setting with
                Train = change e.Setting.Train
            }
    }

let private withSetting change (e: Experiment<'Views>) = { e with Setting = change e.Setting }

/// Exactly one problem, at this place and with these words.
let private finds (recipe: Recipe) (where: string) (what: string) =
    match Check.recipe recipe with
    | [ problem ] ->
        Expect.stringContains problem.Where where "where"
        Expect.stringContains (problem.What + ". " + problem.Mend) what "what"
        Expect.isNotEmpty problem.Mend "how to mend it"
    | problems ->
        let list = problems |> List.map string |> String.concat "\n"
        failtest $"expected one problem at {where}, received {problems.Length}:\n{list}"

let private mistakes =
    [
        "temperature 0",
        one (fun e ->
            { e with
                Method = { SimClr.Default with Temperature = 0. }
            }),
        "Method.Temperature",
        "0"

        "temperature not a number",
        one (fun e ->
            { e with
                Method =
                    { SimClr.Default with
                        Temperature = nan
                    }
            }),
        "Method.Temperature",
        "NaN"

        "probability above 1",
        one (fun e ->
            { e with
                Augment = twoViewsOf Samples.view [ Flip 1.5 ]
            }),
        "Augment.second view[0] flip",
        "1.5"

        "areas swapped",
        one (fun e ->
            { e with
                Augment = twoViewsOf Samples.view [ ResizedCrop(0.9, 0.2) ]
            }),
        "MinArea, MaxArea",
        "0.9"

        "area above 1",
        one (fun e ->
            { e with
                Augment = twoViewsOf Samples.view [ ResizedCrop(0.2, 1.2) ]
            }),
        "MaxArea",
        "1.2"

        "crop to nothing",
        one (fun e ->
            { e with
                Augment = twoViewsOf Samples.view [ CropTo(0, 0.2, 1.) ]
            }),
        "Size",
        "0"

        "hue beyond half a turn",
        one (fun e ->
            { e with
                Augment = twoViewsOf Samples.view [ JitterOf(0.8, 0.4, 0.4, 0.4, 0.6) ]
            }),
        "Hue",
        "0.6"

        "batch larger than the data",
        one (withTrain (fun t -> { t with BatchSize = 1001 })),
        "Setting.Train.BatchSize",
        "1000"

        "batch of one", one (withTrain (fun t -> { t with BatchSize = 1 })), "Setting.Train.BatchSize", "2 or more"
        "learning rate 0", one (withTrain (fun t -> { t with Rate = Rate.Fixed 0. })), "Setting.Train.Rate", "above 0"

        "negative epochs", one (withTrain (fun t -> { t with Epochs = -1 })), "Setting.Train.Epochs", "-1"

        "warm-up beyond the end",
        one (withTrain (fun t -> { t with WarmupFraction = 5. })),
        "Setting.Train.WarmupFraction",
        "5"

        "momentum 1",
        one (
            withTrain (fun t ->
                { t with
                    Optimiser = Sgd { SgdRule.Default with Momentum = 1. }
                })
        ),
        "Setting.Train.Optimiser.Momentum",
        "below 1"

        "clip at 0", one (withTrain (fun t -> { t with ClipNorm = Some 0. })), "Setting.Train.ClipNorm", "0"
        "no seeds", one (withSetting (fun s -> { s with Seeds = [] })), "Setting.Seeds", "no seeds"
        "a seed twice", one (withSetting (fun s -> { s with Seeds = [ 1; 2; 1 ] })), "Setting.Seeds", "seed 1 2 times"
        "a negative seed", one (withSetting (fun s -> { s with Seeds = [ -1 ] })), "Setting.Seeds", "-1"

        "k larger than the bank",
        one (
            withSetting (fun s ->
                { s with
                    Protocols = [ Samples.knn; KnnVote 1001 ]
                })
        ),
        "Setting.Protocols[1].k",
        "1001 neighbours from a bank of 1000"

        "an unknown layer",
        one (
            withSetting (fun s ->
                { s with
                    Protocols = [ Samples.knn; At("layer9", Samples.knn) ]
                })
        ),
        "Setting.Protocols[1]",
        "layer9"

        "z without a projector",
        one (fun e ->
            { withSetting
                  (fun s ->
                      { s with
                          Protocols = [ Samples.knn; At("z", Samples.knn) ]
                      })
                  e with
                Method =
                    { SimClr.Default with
                        Projection = NoProjection
                    }
            }),
        "Setting.Protocols[1]",
        "no projection head"

        "a protocol twice",
        one (
            withSetting (fun s ->
                { s with
                    Protocols = [ Samples.knn; Samples.knn ]
                })
        ),
        "Setting.Protocols",
        "2 times"

        "an encoder without stages",
        one (
            withSetting (fun s ->
                { s with
                    Backbone =
                        {
                            Block = Basic
                            Blocks = []
                            Width = 8
                            Stem = CifarStem
                        }
                })
        ),
        "Setting.Backbone.Blocks",
        "no stages"

        "no training images",
        one (
            withSetting (fun s ->
                { s with
                    Data =
                        Shapes
                            {
                                Train = 1000
                                Test = 0
                                Size = 32
                                Seed = 1UL
                                Statistics = Independent
                            }
                })
        ),
        "Setting.Data.Test",
        "1 or more"

        "the same run twice",
        comparison
            [
                Run.ofExperiment Samples.simclr
                Run.named "again" (Run.ofExperiment Samples.simclr)
            ],
        "table \"t\"",
        "simclr and again are the same run"

        "epochs that differ in one comparison",
        comparison
            [
                Run.ofExperiment Samples.simclr
                Run.ofExperiment (withTrain (fun t -> { t with Epochs = 3 }) Samples.supervised)
            ],
        "table \"t\".Setting.Train.Epochs",
        "10 (simclr), 3 (supervised)"

        "data that differ in one comparison",
        comparison
            [
                Run.ofExperiment Samples.simclr
                Run.rawPixels { Samples.setting with Data = Cifar10 }
            ],
        "table \"t\".Setting.Data",
        "CIFAR-10"

        "patches larger than the cells of the view",
        comparison
            [
                Run.ofExperiment
                    {
                        Name = "jigsaw"
                        Setting = Samples.setting
                        Augment = patches 20 1 Samples.view
                        Method = Jigsaw.CpuCifar
                    }
            ],
        "Augment",
        "patches of 20 pixels"

        "a chroma stride that does not divide the view",
        comparison
            [
                Run.ofExperiment
                    {
                        Name = "colorization"
                        Setting = Samples.setting
                        Augment = lab 5 Samples.view
                        Method = Colorization.CpuCifar
                    }
            ],
        "Augment",
        "stride"

        "large crops of two sizes",
        comparison
            [
                Run.ofExperiment
                    {
                        Name = "dino"
                        Setting = Samples.setting
                        Augment = multiCropOf Samples.view [ CropTo(24, 0.2, 1.0) ] Samples.view 2
                        Method = Dino.CpuCifar
                    }
            ],
        "Augment",
        "equal sizes"

        "a column that a row is not scored by",
        Samples.recipe "r" [ Table.compare "t" [ Run.ofExperiment Samples.simclr ] [ KnnVote 3 ] ],
        "table \"t\"",
        "k-NN k=3 vote"

        "an axis without values",
        Samples.recipe
            "r"
            [
                Table.pivot
                    "t"
                    Samples.simclr
                    (Axis.leaveOneOut Samples.simclr.Augment)
                    (Axis.sweep "x" [ 1 ] (fun _ e -> e))
                    Samples.knn
                |> fun t ->
                    match t.Shape with
                    | PivotTable p ->
                        { t with
                            Shape = PivotTable { p with Columns = [] }
                        }
                    | _ -> t
            ],
        "table \"t\"",
        "an axis without values"

        "a name that is no folder",
        { comparison [ Run.ofExperiment Samples.simclr ] with
            Name = "a/b"
        },
        "Name",
        "a/b"
    ]

[<Tests>]
let tests =
    testList
        "check"
        [
            for name, recipe, where, what in mistakes do
                testCase name (fun () -> finds recipe where what)

            test "right recipes have no problems" {
                let recipe =
                    Samples.recipe
                        "r"
                        [
                            Table.compare
                                "t"
                                [
                                    Run.rawPixels Samples.setting
                                    Run.randomInit Samples.setting
                                    Run.ofExperiment Samples.simclr
                                    Samples.supervised
                                    |> withTrain (fun t -> { t with Epochs = 3 })
                                    |> Run.ofExperiment
                                    |> Run.reference
                                ]
                                [ Samples.knn; Samples.probe ]
                        ]

                Expect.isEmpty (Check.recipe recipe) "problems"
                Expect.isEmpty (Check.recipes Recipes.All.recipes) "names of the recipes"

                for recipe in Recipes.All.recipes do
                    Expect.isEmpty (Check.recipe recipe) recipe.Name
            }

            test "six planted mistakes are reported at once, each once, although many cells share them" {
                let broken =
                    { Samples.simclr with
                        Setting =
                            { Samples.setting with
                                Train =
                                    { Train.CpuScale with
                                        BatchSize = 5000
                                        Rate = Rate.Fixed -0.1
                                    }
                                Protocols = [ Knn(k = 2000, temperature = 0.1); At("layer7", Samples.knn) ]
                                Seeds = []
                            }
                        Augment = twoViews [ Flip 2. ]
                    }

                let axis =
                    Axis.sweep "temperature" [ 0.1; 0.5 ] (fun t e ->
                        { e with
                            Method = { SimClr.Default with Temperature = t }
                        })

                let recipe =
                    Samples.recipe
                        "broken"
                        [
                            Table.pivot
                                "t"
                                broken
                                axis
                                (Axis.sweep "clip" [ 1.; 2. ] (fun c e ->
                                    withTrain (fun t -> { t with ClipNorm = Some c }) e))
                                broken.Setting.Protocols.Head
                        ]

                let found = Check.recipe recipe |> List.map _.ToString()

                let expected =
                    [
                        "Setting.Train.BatchSize: 5000 images a batch"
                        "Setting.Train.Rate: -0.1"
                        "Setting.Protocols[0].k: 2000 neighbours"
                        "Setting.Protocols[1]: no layer 'layer7'"
                        "Setting.Seeds: no seeds"
                        "Augment.first view[0] flip: a probability of 2"
                    ]

                for text in expected do
                    Expect.equal (found |> List.filter _.Contains(text)).Length 1 $"'{text}' once in {found}"

                Expect.equal found.Length 7 "these and the second view's flip"
                Expect.isTrue (found |> List.forall _.Contains("and 3 more")) "all four cells are counted"
            }

            test "masks fit the encoder's patches, and an encoder that takes only whole images is refused" {
                let mae patch backbone =
                    Run.ofExperiment
                        {
                            Name = "mae"
                            Setting =
                                { Samples.setting with
                                    Backbone = backbone
                                }
                            Augment = masked patch 0.75 []
                            Method = Mae.CpuCifar
                        }

                let found run =
                    Check.runs [ run ] |> List.map _.ToString()

                Expect.isEmpty (found (mae 4 SmallVit)) "one patch for both"

                Expect.isTrue
                    (found (mae 8 SmallVit) |> List.exists _.Contains("hides patches of 8 pixels"))
                    "another patch"

                Expect.isTrue
                    (found (mae 4 SmallResNet) |> List.exists _.Contains("takes only whole images"))
                    "a ResNet"

                let simmim patch backbone =
                    Run.ofExperiment
                        {
                            Name = "simmim"
                            Setting =
                                { Samples.setting with
                                    Backbone = backbone
                                }
                            Augment = masked patch 0.5 []
                            Method = SimMim.CpuCifar
                        }

                Expect.isEmpty (found (simmim 8 SmallVit)) "SimMIM hides several patches at once"
                Expect.isEmpty (found (simmim 8 SmallResNet)) "SimMIM hides parts of the image from a ResNet"
                Expect.isNonEmpty (found (simmim 2 SmallVit)) "no part of a patch"
            }

            test "rows of a table have names, each its own; two views have operations; no recipe is called work" {
                let named name =
                    Run.named name (Run.ofExperiment Samples.simclr)

                let other = Run.randomInit Samples.setting

                finds (comparison [ named ""; other ]) "Name" "without a name"
                finds (comparison [ named "  "; other ]) "Name" "without a name"
                finds (comparison [ named "a"; Run.named "a" other ]) "Name" "2 rows named 'a'"
                finds (one (fun e -> { e with Augment = twoViews [] })) "Augment" "same image twice"

                finds
                    { comparison [ other ] with
                        Name = "work"
                    }
                    "Name"
                    "the recipe name 'work'"
            }

            test "a missing dataset names the command that brings it" {
                let folder = System.IO.Directory.CreateTempSubdirectory "sslr-data-"

                try
                    let run = Run.rawPixels { Samples.setting with Data = Cifar10 }

                    match Datasets.problems folder.FullName [ run ] with
                    | [ problem ] ->
                        Expect.stringContains problem.Where "Setting.Data" "where"
                        Expect.stringContains problem.What "data import cifar10" "what"
                    | problems -> failtest $"{problems}"
                finally
                    folder.Delete true
            }

            test "building and checking experiments makes no tensor" {
                let live = Tests.Support.LiveTensors.settled ()
                Check.recipe Recipes.Compare.recipe |> ignore
                Check.recipe Recipes.Augmentations.recipe |> ignore
                Expect.equal TorchSharp.torch.Tensor.TotalCount live "live tensors"
            }
        ]

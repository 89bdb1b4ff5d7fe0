/// Does self-supervision pay, on images that need no download?
module Recipes.Compare

open SslResearch

let setting =
    {
        Data =
            Shapes
                {
                    Train = 10_000
                    Test = 2_000
                    Size = 32
                    Seed = 1UL
                }
        Backbone = SmallResNet
        Train =
            { Train.CpuScale with
                Epochs = 20
                BatchSize = 128
            }
        Protocols = [ Knn(k = 20, temperature = 0.1); LinearProbe(epochs = 100) ]
        Seeds = [ 0; 1; 2 ]
    }

let view =
    [
        CropTo(24, 0.2, 1.0)
        Flip 0.5
        JitterOf(0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1)
        Gray 0.2
    ]

let simclr =
    {
        Name = "SimCLR"
        Setting = setting
        Augment = twoViews view
        Method = SimClr.CpuCifar
    }

let supervised =
    {
        Name = "supervised"
        Setting =
            { setting with
                Train = { setting.Train with Epochs = 10 }
            }
        Augment = labelled [ CropTo(24, 0.4, 1.0); Flip 0.5 ]
        Method = Supervised
    }

let recipe =
    {
        Name = "compare"
        Summary = "Shapes: raw pixels, random initialisation, SimCLR, supervised; a few minutes on 2 cores"
        Tables =
            [
                Table.compare
                    "Shapes, small ResNet"
                    [
                        Run.rawPixels setting
                        Run.randomInit setting
                        Run.ofExperiment simclr
                        Run.reference (Run.ofExperiment supervised)
                    ]
                    setting.Protocols
            ]
    }

/// Every method on one setting, on images that need no download: the comparison tables of the field's tutorials, measured.
module Recipes.Compare

open SslResearch

let knn = Knn(k = 20, temperature = 0.1)
let probe = LinearProbe(epochs = 100)

/// Pretext tasks leave what they learned before the last layers.
let middle = At("layer2", LinearProbe(epochs = 100))

let setting =
    {
        Data =
            Shapes
                {
                    Train = 10_000
                    Test = 2_000
                    Size = 32
                    Seed = 1UL
                    Statistics = Independent
                }
        Backbone = SmallResNet
        Train =
            { Train.CpuScale with
                Epochs = 15
                BatchSize = 128
            }
        Protocols = [ knn; probe; middle ]
        Seeds = [ 0; 1; 2 ]
    }

/// The setting of what learns from hidden patches: the same images, a transformer.
let masked =
    { setting with
        Backbone = MaskedCpu.transformer
        Train = MaskedCpu.train
        Protocols = [ knn; probe ]
    }

/// The setting of what predicts the next frame: the same encoder, an optimiser for losses of a few thousandths.
let films =
    { setting with
        Train = { MaskedCpu.train with Epochs = 8 }
    }

let supervised =
    CpuScale.entrant "supervised" 0.12 (labelled [ CropTo(24, 0.4, 1.0); Flip 0.5 ]) Supervised

let recipe =
    {
        Name = "compare"
        Summary = "Shapes: every method beside raw pixels, random initialisation and supervised training"
        Tables =
            [
                Table.methods
                    "Shapes, small ResNet"
                    [
                        Run.rawPixels setting
                        Run.randomInit setting

                        for entrant in CpuScale.entrants do
                            entrant.Run setting

                        Run.reference (MaskedCpu.nextFrame.Run films)
                        Run.reference (supervised.Run setting)
                    ]
                    setting.Protocols

                Table.methods
                    "Shapes, small vision transformer"
                    [
                        Run.randomInit masked

                        for entrant in MaskedCpu.entrants do
                            entrant.Run masked
                    ]
                    masked.Protocols
            ]
    }

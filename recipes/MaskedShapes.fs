/// Masked and predictive methods on Shapes, with a small vision transformer.
module Recipes.MaskedShapes

open SslResearch

let setting =
    { Compare.setting with
        Backbone = MaskedCpu.transformer
        Train = MaskedCpu.train
        Protocols =
            [
                Knn(k = 20, temperature = 0.1)
                LinearProbe(epochs = 100)
                FineTune(epochs = 5)
            ]
    }

let recipe =
    {
        Name = "masked-shapes"
        Summary = "Shapes: MAE, SimMIM, BEiT, I-JEPA, iBOT and DINOv2 beside random initialisation"
        Tables =
            [
                Table.methods
                    "Shapes, small vision transformer"
                    [
                        Run.randomInit setting
                        MaskedCpu.mae.Run setting
                        MaskedCpu.simmim.Run setting
                        (MaskedCpu.beit setting).Run setting
                        (MaskedCpu.beitShuffled setting).Run setting
                        MaskedCpu.ijepa.Run setting
                        MaskedCpu.ibot.Run setting
                        MaskedCpu.dinov2.Run setting
                    ]
                    setting.Protocols
            ]
    }

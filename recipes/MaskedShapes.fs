/// Masked and predictive methods on Shapes by fine-tuning too, and BEiT on words that say nothing.
module Recipes.MaskedShapes

open SslResearch

let setting =
    { Compare.masked with
        Protocols = Compare.masked.Protocols @ [ FineTune(epochs = 5) ]
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

                        for entrant in MaskedCpu.entrants do
                            entrant.Run setting

                        Run.reference (MaskedCpu.beitShuffled.Run setting)
                    ]
                    setting.Protocols
            ]
    }

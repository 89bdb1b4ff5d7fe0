/// What learns from hidden patches, fine-tuned too: the trainings of `compare`, whose checkpoints serve here. Beside them BEiT on words that say
/// nothing of their patches.
module Recipes.MaskedShapes

open SslResearch

let setting =
    { Compare.masked with
        Protocols = Compare.masked.Protocols @ [ FineTune(epochs = 5) ]
    }

let recipe =
    {
        Name = "masked-shapes"
        Summary = "Shapes: MAE, SimMIM, BEiT, I-JEPA, iBOT and DINOv2 beside random initialisation, fine-tuned too"
        Tables =
            [
                Table.compare
                    "Shapes, small vision transformer"
                    [
                        Run.randomInit setting

                        for entrant in MaskedCpu.entrants do
                            entrant.Run setting

                        MaskedCpu.beitShuffled.Run setting
                    ]
                    setting.Protocols
            ]
    }

/// What learns from hidden patches, fine-tuned: the trainings of `compare`, whose checkpoints serve here too.
module Recipes.MaskedShapes

open SslResearch

let setting =
    { Compare.masked with
        Protocols = [ FineTune(epochs = 5) ]
    }

let recipe =
    {
        Name = "masked-shapes"
        Summary = "Shapes: MAE, SimMIM, BEiT, I-JEPA, iBOT and DINOv2 beside random initialisation, fine-tuned"
        Tables =
            [
                Table.compare
                    "Shapes, small vision transformer, fine-tuned"
                    [
                        Run.randomInit setting

                        for entrant in MaskedCpu.entrants do
                            entrant.Run setting
                    ]
                    setting.Protocols
            ]
    }

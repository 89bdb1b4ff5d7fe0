/// Next-frame prediction on Shapes in motion: beside the frame before and the straight line, and its encoder on still images.
module Recipes.NextFrames

open SslResearch

let setting = Compare.films

let transformer = MaskedCpu.nextFrameBy "next frame, transformer" NextFrame.CpuShapesTransformer

/// What the painting alone is worth: no step of training.
let untrained =
    { setting with
        Train = { setting.Train with Epochs = 0 }
    }

let recipe =
    {
        Name = "next-frames"
        Summary = "Shapes in motion: the next frame, and what its encoder knows of still images"
        Tables =
            [
                Table.compare
                    "Next frame, small ResNet"
                    [
                        Run.randomInit setting
                        Run.named "next frame, untrained" (MaskedCpu.nextFrame.Run untrained)
                        |> Run.reference
                        MaskedCpu.nextFrame.Run setting
                        transformer.Run setting
                    ]
                    setting.Protocols
            ]
    }

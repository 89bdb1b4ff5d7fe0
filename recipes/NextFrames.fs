/// Next-frame prediction on Shapes in motion: beside the frame before and the straight line, and its encoder on still images.
module Recipes.NextFrames

open SslResearch

let setting =
    { Compare.setting with
        Train =
            { MaskedCpu.train with
                Epochs = 20
                BatchSize = 32
            }
    }

let private films =
    ShapesInMotion
        {
            Train = 3_000
            Test = 500
            Size = 32
            Frames = 6
            Seed = 1UL
        }

let private predictor name method =
    CpuScale.entrant name 1e-3 (clips films [ Flip 0.5 ]) method

let lstm = predictor "next frame, LSTM" NextFrame.CpuShapes
let transformer = predictor "next frame, transformer" NextFrame.CpuShapesTransformer

let residual =
    predictor
        "next frame, LSTM, residual"
        { NextFrame.CpuShapes with
            Painting = FramePainting.Residual
        }

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
                        Run.named "next frame, LSTM, untrained" (lstm.Run untrained) |> Run.reference
                        lstm.Run setting
                        residual.Run setting
                        transformer.Run setting
                    ]
                    setting.Protocols
            ]
    }

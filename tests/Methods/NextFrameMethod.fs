module Tests.Methods.NextFrameMethod

open Expecto
open SslResearch
open Tests.Support

let private films =
    ShapesInMotion
        {
            Train = 256
            Test = 32
            Size = 16
            Frames = 4
            Seed = 5UL
            Statistics = Independent
        }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = false
        NearChance = None
    }

/// The kit's encoder has stride 4.
let private method: NextFrame =
    {
        Memory = FrameMemory.Lstm { Width = 8; Layers = 2 }
        Decoder = [ 8; 4 ]
        Painting = FramePainting.Motion 1
        Cost = FrameCost.Squared
        Targets = FrameTargets.Every
    }

let spec = MethodKit.spec (MethodKit.tiny "next frame" (clips films [ Flip 0.5 ]) method) traits

let transformer =
    MethodKit.spec
        (MethodKit.tiny
            "next frame, transformer, residual"
            (clips films [ CropTo(16, 0.5, 1.0) ])
            { method with
                Memory =
                    FrameMemory.Transformer
                        {
                            Width = 8
                            Depth = 2
                            Heads = 2
                            MlpRatio = 2.
                        }
                Painting = FramePainting.Residual
                Cost = FrameCost.Absolute
                Targets = FrameTargets.Last
            })
        traits

/// On a vision transformer, whose patches make a map of 4×4 too.
let whole =
    let experiment =
        MethodKit.tiny
            "next frame, whole, last only, ViT"
            (clips films [])
            { method with
                Memory = FrameMemory.Lstm { Width = 8; Layers = 1 }
                Painting = FramePainting.Whole
                Targets = FrameTargets.Last
            }

    MethodKit.spec
        { experiment with
            Setting =
                { experiment.Setting with
                    Backbone =
                        { VitTiny 16 4 with
                            Width = 24
                            Depth = 2
                        }
                }
        }
        traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; transformer.Laws; whole.Laws ]

module Tests.Methods.IJepaMethod

open Expecto
open SslResearch
open Tests.Support

let private method =
    { IJepa.Default with
        PredictorWidth = 16
        PredictorDepth = 2
        PredictorHeads = 2
    }

let private experiment name side (vit: Vit) (method: IJepa) =
    let tiny =
        MethodKit.tiny name (contextTargets 4 TargetBlocks.Default [ CropTo(side, 0.3, 1.0); Flip 0.5 ]) method

    { tiny with
        Setting = { tiny.Setting with Backbone = vit }
    }

let private vit =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
        Positions = VitPositions.SinCos
    }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = false
        NearChance = None
    }

/// Four targets of 2×2 in a grid of 4×4.
let spec = MethodKit.spec (experiment "I-JEPA" 16 vit method) traits

/// Squared distance, learned and interpolated positions, registers, and a student whose branches drop out: one grid of 3×3.
let squared =
    MethodKit.spec
        (experiment
            "I-JEPA, squared"
            12
            { vit with
                Positions = VitPositions.Learned
                Registers = 1
                LayerScale = Some 0.5
                DropPath = 0.1
            }
            { method with
                PredictorDepth = 1
                Distance = TokenDistance.Squared
                Momentum = 0.9
            })
        { traits with
            OrderFree = false
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws; squared.Laws ]

module Tests.Methods.MaeMethod

open Expecto
open SslResearch
open Tests.Support

let private encoder =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
    }

let private method =
    { Mae.Default with
        Decoder =
            { Mae.Default.Decoder with
                Width = 16
                Depth = 1
                Heads = 2
            }
    }

let private on (vit: Vit) experiment =
    { experiment with
        Setting =
            { experiment.Setting with
                Backbone = vit
            }
    }

let spec =
    MethodKit.spec
        (MethodKit.tiny "MAE" (masked 4 0.75 MethodKit.view) method |> on encoder)
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = Some 0.1
        }

/// Pixels as they are, blocks hidden, registers, fixed positions.
let pixels =
    MethodKit.spec
        (MethodKit.tiny "MAE, pixels" (maskedBlocks 4 0.5 2 MethodKit.view) { method with NormaliseTargets = false }
         |> on
             { encoder with
                 Registers = 1
                 Positions = VitPositions.SinCos
             })
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws; pixels.Laws ]

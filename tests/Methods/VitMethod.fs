/// SimCLR on a vision transformer: what the laws ask of a method, asked of the backbone.
module Tests.Methods.VitMethod

open Expecto
open SslResearch
open Tests.Support

let private experiment =
    let tiny =
        MethodKit.tiny
            "SimCLR ViT"
            (twoViews MethodKit.view)
            { SimClr.Default with
                Projection = LinearProjection 8
            }

    { tiny with
        Setting =
            { tiny.Setting with
                Backbone =
                    { VitTiny 16 4 with
                        Width = 24
                        Depth = 2
                        Registers = 1
                        LayerScale = Some 0.5
                        DropPath = 0.1
                    }
            }
    }

let spec =
    MethodKit.spec
        experiment
        {
            OrderFree = false
            ViewsSwap = false
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

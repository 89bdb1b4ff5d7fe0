module Tests.Methods.SimClrMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "SimCLR"
            (twoViews MethodKit.view)
            { SimClr.Default with
                Projection =
                    Mlp
                        {
                            Hidden = Some 16
                            Output = 8
                            BatchNorm = true
                        }
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

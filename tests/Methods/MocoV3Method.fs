module Tests.Methods.MocoV3Method

open Expecto
open SslResearch
open Tests.Support

let private head =
    Deep
        {
            Hidden = [ 16 ]
            Output = 16
            BatchNorm = true
            OutputNorm = PlainNorm
        }

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "MoCo v3"
            (twoViews MethodKit.view)
            { MocoV3.Default with
                Projection = head
                Predictor = head
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

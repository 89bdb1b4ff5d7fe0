module Tests.Methods.ByolMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "BYOL"
            (twoViews MethodKit.view)
            { Byol.Default with
                Projection =
                    Deep
                        {
                            Hidden = [ 16 ]
                            Output = 8
                            BatchNorm = true
                            OutputNorm = NoNorm
                        }
                Predictor = Some 16
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

module Tests.Methods.SimSiamMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "SimSiam"
            (twoViews MethodKit.view)
            { SimSiam.Default with
                Projection =
                    Deep
                        {
                            Hidden = [ 16; 16 ]
                            Output = 16
                            BatchNorm = true
                            OutputNorm = PlainNorm
                        }
                Predictor = Some 4
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

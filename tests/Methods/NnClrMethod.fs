module Tests.Methods.NnClrMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "NNCLR"
            (twoViews MethodKit.view)
            {
                QueueSize = 100
                Temperature = 0.5
                Projection =
                    Deep
                        {
                            Hidden = [ 16 ]
                            Output = 16
                            BatchNorm = true
                            OutputNorm = AffineNorm
                        }
                Predictor =
                    Mlp
                        {
                            Hidden = Some 16
                            Output = 16
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

module Tests.Methods.VicRegMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "VICReg"
            (twoViews MethodKit.view)
            { VicReg.CpuCifar with
                Projection =
                    Deep
                        {
                            Hidden = [ 16 ]
                            Output = 16
                            BatchNorm = true
                            OutputNorm = NoNorm
                        }
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

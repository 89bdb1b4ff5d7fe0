module Tests.Methods.BarlowTwinsMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "Barlow Twins"
            (twoViews MethodKit.view)
            { BarlowTwins.CpuCifar with
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

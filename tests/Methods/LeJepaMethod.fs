module Tests.Methods.LeJepaMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "LeJEPA"
            (twoViews MethodKit.view)
            { LeJepa.Default with
                Slices = 32
                Projection =
                    Deep
                        {
                            Hidden = [ 16 ]
                            Output = 8
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

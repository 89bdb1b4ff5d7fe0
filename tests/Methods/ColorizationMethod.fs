module Tests.Methods.ColorizationMethod

open Expecto
open SslResearch
open Tests.Support

let private view = lab 2 [ CropTo(12, 0.3, 1.0); Flip 0.5 ]

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "colorization"
            view
            { Colorization.Default with
                Decoder = [ 8 ]
            })
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = Some 0.1
        }

let regression =
    MethodKit.spec
        (MethodKit.tiny
            "colorization by regression"
            view
            { Colorization.Documents with
                Decoder = [ 8 ]
            })
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws; regression.Laws ]

module Tests.Methods.SupervisedMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny "supervised" (labelled MethodKit.view) Supervised)
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

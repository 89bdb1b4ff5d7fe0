module Tests.Methods.RotationMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny "rotation" (rotated MethodKit.view) Rotation.Default)
        {
            OrderFree = true
            ViewsSwap = false
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

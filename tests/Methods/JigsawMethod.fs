module Tests.Methods.JigsawMethod

open Expecto
open SslResearch
open Tests.Support

let spec =
    MethodKit.spec
        (MethodKit.tiny
            "jigsaw"
            (patches 4 1 [ CropTo(17, 0.5, 1.0); Flip 0.5; Gray 0.3 ])
            {
                Permutations = 12
                Patch = LinearProjection 8
                Hidden = [ 16 ]
                BatchNorm = true
            })
        {
            // The permutation belongs to an image's place in the batch.
            OrderFree = false
            ViewsSwap = false
            NearChance = Some 0.1
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws ]

module Tests.Methods.SwavMethod

open Expecto
open SslResearch
open Tests.Support

let private small = [ CropTo(8, 0.1, 0.4); Flip 0.5; Gray 0.2 ]

/// Many prototypes in a wide space, so that random weights lie near ln K.
let private method =
    { Swav.Default with
        Projection =
            Mlp
                {
                    Hidden = Some 16
                    Output = 128
                    BatchNorm = true
                }
        Prototypes = 64
        FreezePrototypes = 0.
    }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = true
        NearChance = Some 0.1
    }

let spec = MethodKit.spec (MethodKit.tiny "SwAV" (multiCrop MethodKit.view small 2) method) traits

/// On two crops, with a queue whose length is no multiple of the batch.
let queued =
    MethodKit.spec
        (MethodKit.tiny
            "SwAV, two crops, queue"
            (multiCrop MethodKit.view [] 0)
            { method with
                QueueSize = 80
                QueueStart = 0.25
            })
        traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; queued.Laws ]

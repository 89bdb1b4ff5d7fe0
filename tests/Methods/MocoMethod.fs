module Tests.Methods.MocoMethod

open Expecto
open SslResearch
open Tests.Support

/// No chance level at the start: until the queue holds keys of the network, a key differs from its random rows.
let spec =
    MethodKit.spec
        (MethodKit.tiny
            "MoCo v1"
            (twoViews MethodKit.view)
            { Moco.V1 with
                QueueSize = 100
                Momentum = 0.9
                Projection = LinearProjection 8
                NormSplits = 3
            })
        {
            OrderFree = false
            ViewsSwap = false
            NearChance = None
        }

let symmetric =
    MethodKit.spec
        (MethodKit.tiny
            "MoCo v2, symmetric"
            (twoViews MethodKit.view)
            { Moco.V2 with
                QueueSize = 100
                Momentum = 0.9
                Projection =
                    Mlp
                        {
                            Hidden = Some 16
                            Output = 8
                            BatchNorm = false
                        }
                Symmetric = true
                NormSplits = 1
                ShuffleKeys = false
            })
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws; symmetric.Laws ]

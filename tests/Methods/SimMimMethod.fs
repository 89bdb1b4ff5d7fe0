module Tests.Methods.SimMimMethod

open Expecto
open SslResearch
open Tests.Support

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = false
        NearChance = None
    }

let private transformer = MethodKit.tiny "SimMIM" (masked 4 0.6 MethodKit.view) SimMim.Default

let spec =
    MethodKit.spec
        { transformer with
            Setting =
                { transformer.Setting with
                    Backbone =
                        { VitTiny 16 4 with
                            Width = 24
                            Depth = 2
                        }
                }
        }
        traits

/// On the kit's residual network, whose positions are squares of 4 pixels; squared errors.
let residual =
    MethodKit.spec (MethodKit.tiny "SimMIM, ResNet" (masked 6 0.5 MethodKit.view) SimMim.Squared) traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; residual.Laws ]

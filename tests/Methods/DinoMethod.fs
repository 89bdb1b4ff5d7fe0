module Tests.Methods.DinoMethod

open Expecto
open SslResearch
open Tests.Support

let private small = [ CropTo(8, 0.1, 0.4); Flip 0.5; Gray 0.2 ]

/// A wide bottleneck, so that random weights lie near ln K.
let private method =
    { Dino.Default with
        Head =
            {
                Layers = 2
                Hidden = 16
                Bottleneck = 256
                Prototypes = 64
                BatchNorm = true
            }
        TeacherTemperature = 0.07
        TemperatureWarmup = 0.5
        FreezeLast = 0.
    }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = true
        NearChance = Some 0.1
    }

let spec = MethodKit.spec (MethodKit.tiny "DINO" (multiCrop MethodKit.view small 2) method) traits

/// On two crops, without centring and sharpening, with a head of three layers without batch norm.
let plain =
    MethodKit.spec
        (MethodKit.tiny
            "DINO, two crops, neither centred nor sharpened"
            (multiCrop MethodKit.view [] 0)
            { method with
                Head =
                    { method.Head with
                        Layers = 3
                        BatchNorm = false
                    }
                Centring = false
                Sharpening = false
            })
        traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; plain.Laws ]

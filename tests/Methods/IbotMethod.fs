module Tests.Methods.IbotMethod

open Expecto
open SslResearch
open Tests.Support

let private small = [ CropTo(8, 0.1, 0.4); Flip 0.5; Gray 0.2 ]

let private backbone =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
    }

/// A wide bottleneck, so that random weights lie near ln K.
let private head: DinoHead =
    {
        Layers = 2
        Hidden = 16
        Bottleneck = 1024
        Prototypes = 64
        BatchNorm = false
    }

let private tiny name augment method : Experiment<_> =
    let experiment = MethodKit.tiny name augment method

    { experiment with
        Setting =
            { experiment.Setting with
                Backbone = backbone
            }
    }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = true
        NearChance = None
    }

/// One head for crops and patches, means over masked crops.
let private method =
    { Ibot.Default with
        Head = head
        TemperatureWarmup = 0.5
        PatchMean = PatchMean.MaskedCrops
        FreezeLast = 0.
    }

let spec =
    MethodKit.spec
        (tiny "iBOT" (maskedCrops 4 (multiCrop MethodKit.view small 2)) method)
        { traits with NearChance = Some 0.1 }

/// On two crops, a head with batch norm for patches, the centre of hidden patches, the authors' mean.
let separate =
    MethodKit.spec
        (tiny
            "iBOT, two crops, two heads"
            (maskedCrops 4 (multiCrop MethodKit.view [] 0))
            { method with
                PatchHead =
                    Some
                        { head with
                            Bottleneck = 16
                            Prototypes = 32
                            BatchNorm = true
                        }
                PatchMean = PatchMean.Crops
                Centring = TeacherCentring.HiddenCentre 0.9
            })
        traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; separate.Laws ]

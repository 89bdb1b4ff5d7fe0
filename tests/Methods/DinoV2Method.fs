module Tests.Methods.DinoV2Method

open Expecto
open SslResearch
open Tests.Support

let private small = [ CropTo(8, 0.1, 0.4); Flip 0.5; Gray 0.2 ]

let private backbone =
    { VitTiny 16 4 with
        Width = 24
        Depth = 2
    }

let private head: DinoHead =
    {
        Layers = 3
        Hidden = 16
        Bottleneck = 32
        Prototypes = 64
        BatchNorm = false
    }

let private method =
    { DinoV2.Default with
        Head = head
        PatchHead = Some { head with Prototypes = 48 }
        TemperatureWarmup = 0.5
        FreezeLast = 0.
    }

let private tiny name (backbone: Vit) : Experiment<_> =
    let experiment = MethodKit.tiny name (maskedCrops 4 (multiCrop MethodKit.view small 2)) method

    { experiment with
        Setting =
            { experiment.Setting with
                Backbone = backbone
            }
    }

let spec =
    MethodKit.spec
        (tiny "DINOv2" backbone)
        {
            OrderFree = true
            ViewsSwap = true
            NearChance = None
        }

/// With registers, LayerScale and stochastic depth, which draws for each row of the batch.
let deep =
    MethodKit.spec
        (tiny
            "DINOv2, stochastic depth"
            { backbone with
                Registers = 1
                LayerScale = Some 0.5
                DropPath = 0.1
            })
        {
            OrderFree = false
            ViewsSwap = false
            NearChance = None
        }

[<Tests>]
let laws = testList "methods" [ spec.Laws; deep.Laws ]

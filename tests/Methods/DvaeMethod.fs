module Tests.Methods.DvaeMethod

open Expecto
open SslResearch
open Tests.Support

let private view = oneView [ CropTo(12, 0.3, 1.0); Flip 0.5 ]

let private method =
    { Dvae.CpuCifar with
        Vocabulary = 16
        CodeWidth = 8
        Decoder = [ 16; 8; 8 ]
    }

/// The noise belongs to places in the batch.
let private traits: MethodKit.Traits =
    {
        OrderFree = false
        ViewsSwap = false
        NearChance = None
    }

let spec = MethodKit.spec (MethodKit.tiny "dVAE" view method) traits

/// As in the paper: logits as they are, likelihood of pixels.
let likelihood =
    MethodKit.spec
        (MethodKit.tiny
            "dVAE, logit-Laplace"
            view
            { Dvae.Default with
                Vocabulary = 16
                CodeWidth = 8
                Decoder = [ 8; 8; 8 ]
            })
        traits

/// On a vision transformer.
let transformer =
    let experiment = MethodKit.tiny "dVAE, ViT" view method

    MethodKit.spec
        { experiment with
            Setting =
                { experiment.Setting with
                    Backbone =
                        { VitTiny 16 4 with
                            Width = 24
                            Depth = 2
                            Pool = VitPool.Mean
                        }
                }
        }
        traits

[<Tests>]
let laws = testList "methods" [ spec.Laws; likelihood.Laws; transformer.Laws ]

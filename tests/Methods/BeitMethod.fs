module Tests.Methods.BeitMethod

open Expecto
open SslResearch
open Tests.Support

/// Trained for a few steps: that it names patches at all is enough.
let private tokenizer =
    let experiment =
        MethodKit.tiny
            "words"
            (oneView [ Flip 0.5 ])
            { Dvae.CpuCifar with
                Vocabulary = 16
                CodeWidth = 8
                Decoder = [ 16; 8; 8 ]
            }

    Run.ofExperiment
        { experiment with
            Setting =
                { experiment.Setting with
                    Train =
                        { experiment.Setting.Train with
                            Epochs = 1
                        }
                }
        }

let private experiment targets =
    let tiny =
        MethodKit.tiny
            (if targets = RealTokens then
                 "BEiT"
             else
                 "BEiT, shuffled words")
            (maskedBlocks 4 0.4 2 MethodKit.view)
            { Beit.Default tokenizer with
                Targets = targets
            }

    { tiny with
        Setting =
            { tiny.Setting with
                Backbone =
                    { VitTiny 16 4 with
                        Width = 24
                        Depth = 2
                        Registers = 1
                        LayerScale = Some 0.1
                    }
            }
    }

let private traits: MethodKit.Traits =
    {
        OrderFree = true
        ViewsSwap = false
        NearChance = Some 0.1
    }

let spec = MethodKit.spec (experiment RealTokens) traits

/// Which image gets which word depends on places in the batch.
let shuffled = MethodKit.spec (experiment ShuffledTokens) { traits with OrderFree = false }

[<Tests>]
let laws = testList "methods" [ spec.Laws; shuffled.Laws ]

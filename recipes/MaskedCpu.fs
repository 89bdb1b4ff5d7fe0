/// The methods that hide part of an image and predict it, at the scale of a CPU: a small vision transformer with patches of 4 pixels, on
/// images of 32.
module Recipes.MaskedCpu

open SslResearch
open Recipes.CpuScale

let patch = 4

/// The mean of the patches is the feature: most of these methods train no CLS to stand for the image.
let transformer: IBackbone =
    { SmallVit with
        Positions = VitPositions.SinCos
        Pool = VitPool.Mean
    }

/// AdamW as the papers of masked learning have it (MAE: β 0.9 and 0.95, decay 0.05).
let train =
    {
        Epochs = 15
        BatchSize = 128
        Optimiser =
            AdamW
                { AdamWRule.Default with
                    Beta2 = 0.95
                    WeightDecay = 0.05
                }
        Rate = Rate.Fixed 1e-3
        WarmupFraction = 0.1
        FinalRate = 0.
        ClipNorm = Some 3.
    }

/// A view that keeps most of the image.
let whole = [ ResizedCrop(0.5, 1.0); Flip 0.5 ]

/// An encoder of stride 4, so that every patch of the transformer gets a word.
let tokenizerEncoder: IBackbone =
    {
        Block = Basic
        Blocks = [ 1; 1 ]
        Width = 32
        Stem = CifarStemStride2
    }

/// The run that makes the words of BEiT.
let tokenizer (setting: Setting) =
    Run.ofExperiment
        {
            Name = "dVAE"
            Setting =
                { setting with
                    Backbone = tokenizerEncoder
                    Protocols = setting.Protocols |> List.filter (fun p -> not (Protocol.trainsEncoder p))
                }
            Augment = oneView [ Flip 0.5 ]
            Method = Dvae.CpuCifar
        }

let maeAt ratio =
    entrant "MAE" 1.5e-3 (masked patch ratio whole) Mae.CpuCifar

let mae = maeAt 0.75
let simmim = entrant "SimMIM" 1e-3 (masked patch 0.5 whole) SimMim.CpuCifar

let ijepa = entrant "I-JEPA" 1e-3 (contextTargets patch TargetBlocks.Default whole) IJepa.CpuCifar

let ibot = entrant "iBOT" 5e-4 (maskedCrops patch crops) Ibot.CpuCifar
let dinov2 = entrant "DINOv2" 5e-4 (maskedCrops patch crops) DinoV2.CpuCifar

let beit (setting: Setting) =
    let method = Beit.Default(tokenizer setting)
    entrant "BEiT" 1e-3 (maskedBlocks patch 0.4 5 whole) method

/// The control: words that say nothing of their patches.
let beitShuffled (setting: Setting) =
    let method =
        { Beit.Default(tokenizer setting) with
            Targets = ShuffledTokens
        }

    entrant "BEiT, words shuffled" 1e-3 (maskedBlocks patch 0.4 5 whole) method

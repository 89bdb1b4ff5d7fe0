/// The methods that hide part of an image, or the next frame of a clip, and predict it, at the scale of a CPU. What hides patches has a small
/// vision transformer with patches of 4 pixels, on images of 32.
module Recipes.MaskedCpu

open SslResearch
open Recipes.CpuScale

let patch = 4

/// The mean of the patches is the feature: most of these methods train no CLS to stand for the image.
let transformer: IBackbone =
    { SmallVit with
        Width = 64
        Depth = 3
        Heads = 2
        Positions = VitPositions.SinCos
        // As the stored runs were trained.
        Resizing = VitResizing.DinoScale
        Pool = VitPool.Mean
    }

/// AdamW as the papers of masked learning have it (MAE: β 0.9 and 0.95, decay 0.05). Small batches, since a transformer wants many steps
/// before anything else.
let train =
    {
        Epochs = 12
        BatchSize = 32
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

/// A view that keeps most of the image, at 36 patches.
let whole = [ CropTo(24, 0.4, 1.0); Flip 0.5 ]

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
                    Train =
                        { setting.Train with
                            Epochs = 6
                            Rate = Rate.Fixed 1e-3
                        }
                    Protocols = setting.Protocols |> List.filter (fun p -> not (Protocol.trainsEncoder p))
                }
            Augment = oneView [ Flip 0.5 ]
            Method = Dvae.CpuCifar
        }

// Rates: short runs scored on a held-out part of the training images.
let mae = entrant "MAE" 2e-3 (masked patch 0.75 whole) Mae.CpuCifar
let simmim = entrant "SimMIM" 2e-3 (masked patch 0.5 whole) SimMim.CpuCifar

let ijepa = entrant "I-JEPA" 1e-3 (contextTargets patch TargetBlocks.Default whole) IJepa.CpuCifar

let ibot = entrant "iBOT" 1e-3 (maskedCrops patch crops) Ibot.CpuCifar
let dinov2 = entrant "DINOv2" 1e-3 (maskedCrops patch crops) DinoV2.CpuCifar

/// BEiT on the words of the setting's own tokenizer.
let private beitWith name targets =
    let rate = 2e-3

    let at (rate, setting) =
        let method =
            { Beit.Default(tokenizer setting) with
                Targets = targets
            }

        (entrant name rate (maskedBlocks patch 0.4 5 whole) method).Run setting

    { Name = name; Rate = rate; At = at }

let beit = beitWith "BEiT" RealTokens

/// The control: words that say nothing of their patches.
let beitShuffled = beitWith "BEiT, words shuffled" ShuffledTokens

/// All of them that hide patches, in the order of tables.
let entrants = [ mae; simmim; beit; ijepa; ibot; dinov2 ]

/// The images that a comparison's encoder sees still, in motion.
let films =
    ShapesInMotion
        {
            Train = 3_000
            Test = 500
            Size = 32
            Frames = 6
            Seed = 1UL
            Statistics = Independent
        }

/// Next-frame prediction by any model of time.
let nextFrameBy name method =
    entrant name 1e-3 (clips films [ Flip 0.5 ]) method

let nextFrame = nextFrameBy "next frame" NextFrame.CpuShapes

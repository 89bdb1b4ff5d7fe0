/// The methods at the scale of a CPU: what each trains with beside the setting that a comparison shares. Views are 24-pixel crops
/// of 32-pixel images.
module Recipes.CpuScale

open SslResearch

/// Colour changes that keep the image recognisable.
let private jitter =
    JitterOf(0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1)

/// The view of the CPU-scale preset.
let view = [ CropTo(24, 0.2, 1.0); Flip 0.5; jitter; Gray 0.2 ]

/// A method of a comparison: its name, its own learning rate (SGD), and what it does with a setting.
type Entrant =
    {
        Name: string
        Run: Setting -> Run
    }

/// An entrant from its parts; everything else is the setting's.
let entrant name (rate: float) (augment: IAugmentation<'Views>) (method: IMethod<'Views>) =
    {
        Name = name
        Run =
            fun setting ->
                Run.ofExperiment
                    {
                        Name = name
                        Setting =
                            { setting with
                                Train =
                                    { setting.Train with
                                        Rate = Rate.Fixed rate
                                    }
                            }
                        Augment = augment
                        Method = method
                    }
    }

let simclr = entrant "SimCLR" 0.12 (twoViews view) SimClr.CpuCifar
let mocoV1 = entrant "MoCo v1" 0.12 (twoViews view) Moco.CpuCifarV1
let mocoV2 = entrant "MoCo v2" 0.12 (twoViews view) Moco.CpuCifarV2
let mocoV3 = entrant "MoCo v3" 0.12 (twoViews view) MocoV3.CpuCifar
let nnclr = entrant "NNCLR" 0.12 (twoViews view) NnClr.CpuCifar
let byol = entrant "BYOL" 0.12 (twoViews view) Byol.CpuCifar
let simsiam = entrant "SimSiam" 0.12 (twoViews view) SimSiam.CpuCifar
let barlow = entrant "Barlow Twins" 0.12 (twoViews view) BarlowTwins.CpuCifar
let vicreg = entrant "VICReg" 0.12 (twoViews view) VicReg.CpuCifar
let lejepa = entrant "LeJEPA" 0.12 (twoViews view) LeJepa.CpuCifar

/// All of them, in the order of tables.
let entrants =
    [
        simclr
        mocoV1
        mocoV2
        mocoV3
        nnclr
        byol
        simsiam
        barlow
        vicreg
        lejepa
    ]

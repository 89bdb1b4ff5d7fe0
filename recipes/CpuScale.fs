/// The methods at the scale of a CPU: what each trains with beside the setting that a comparison shares. Views are 24-pixel crops
/// of 32-pixel images.
module Recipes.CpuScale

open SslResearch

/// Colour changes that keep the image recognisable.
let private jitter = JitterOf(0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1)

/// The view of the CPU-scale preset.
let view = [ CropTo(24, 0.2, 1.0); Flip 0.5; jitter; Gray 0.2 ]

/// Two of them.
let two = twoViews view

/// Large and small crops for methods that learn parts from wholes: two of 24 pixels, two of 16.
let crops = multiCrop view [ CropTo(16, 0.08, 0.4); Flip 0.5; jitter; Gray 0.2 ] 2

/// Views that keep their geometry: for tasks whose answer lies in it.
let turned = rotated [ CropTo(24, 0.4, 1.0); Flip 0.5 ]

/// Nine patches of 8 pixels, at least one pixel apart.
let puzzle = patches 8 1 [ CropTo(32, 0.5, 1.0); Flip 0.5; Gray 0.3 ]

/// Lightness at 24 pixels, chroma of 6×6.
let colours = lab 4 [ CropTo(24, 0.4, 1.0); Flip 0.5 ]

/// A method of a comparison: its name, its own learning rate (SGD), and its run at any rate on any setting.
type Entrant =
    {
        Name: string
        Rate: float
        At: float * Setting -> Run
    }

    /// At its own rate; everything else is the setting's.
    member e.Run setting = e.At(e.Rate, setting)

/// An entrant from its parts.
let entrant name rate (augment: IAugmentation<'Views>) (method: IMethod<'Views>) =
    {
        Name = name
        Rate = rate
        At =
            fun (rate, setting) ->
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

// Rates and presets: recipe search-cifar10-cpu.
let rotation = entrant "rotation" 0.12 turned Rotation.CpuCifar
let jigsaw = entrant "jigsaw" 0.12 puzzle Jigsaw.CpuCifar
let colorization = entrant "colorization" 0.12 colours Colorization.CpuCifar

let regression = entrant "colorization, regression" 0.03 colours Colorization.CpuCifarRegression

let swav = entrant "SwAV" 0.24 crops Swav.CpuCifar
let dino = entrant "DINO" 0.24 crops Dino.CpuCifar
let simclr = entrant "SimCLR" 0.12 two SimClr.CpuCifar
let mocoV1 = entrant "MoCo v1" 0.12 two Moco.CpuCifarV1
let mocoV2 = entrant "MoCo v2" 0.12 two Moco.CpuCifarV2
let mocoV3 = entrant "MoCo v3" 0.12 two MocoV3.CpuCifar
let nnclr = entrant "NNCLR" 0.12 two NnClr.CpuCifar
let byol = entrant "BYOL" 0.12 two Byol.CpuCifar
let simsiam = entrant "SimSiam" 0.24 two SimSiam.CpuCifar
let barlow = entrant "Barlow Twins" 0.01 two BarlowTwins.CpuCifar
let vicreg = entrant "VICReg" 0.24 two VicReg.CpuCifar
let lejepa = entrant "LeJEPA" 0.12 two LeJepa.CpuCifar

/// All of them, in the order of tables.
let entrants =
    [
        rotation
        jigsaw
        colorization
        regression
        simclr
        mocoV1
        mocoV2
        mocoV3
        nnclr
        swav
        byol
        simsiam
        dino
        barlow
        vicreg
        lejepa
    ]

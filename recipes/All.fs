/// Every recipe that the command line knows. A new one: its own file, and one line here.
module Recipes.All

let recipes =
    [
        Compare.recipe
        Collapse.recipe
        SimClrCifar10Cpu.recipe
        SearchCifar10Cpu.recipe
        MethodsCifar10Cpu.recipe
        Augmentations.recipe
        BeitWords.recipe
        MaskRatio.recipe
        NextFrames.recipe
        MaskedCifar10Cpu.recipe
    ]

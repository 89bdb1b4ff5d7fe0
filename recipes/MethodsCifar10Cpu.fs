/// Every method on all of CIFAR-10 at the scale of a CPU, with the presets that the recipe `search-cifar10-cpu` chose.
/// Needs `sslr data import cifar10 SOURCE` or `sslr data fetch cifar10`.
module Recipes.MethodsCifar10Cpu

open SslResearch

let setting =
    { SimClrCifar10Cpu.setting with
        Protocols =
            [
                Knn(k = 20, temperature = 0.1)
                LinearProbe(epochs = 100)
                At("layer2", LinearProbe(epochs = 100))
            ]
        Seeds = [ 0 ]
    }

let recipe =
    {
        Name = "methods-cifar10-cpu"
        Summary = "CIFAR-10: every method in 10 epochs on a CPU, one seed"
        Tables =
            [
                Table.methods
                    "CIFAR-10, small ResNet, 10 epochs"
                    [
                        Run.rawPixels setting
                        Run.randomInit setting

                        for entrant in CpuScale.entrants do
                            entrant.Run setting
                    ]
                    setting.Protocols
            ]
    }

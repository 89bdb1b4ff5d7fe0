/// MAE against SimCLR on CIFAR-10 with one encoder and one budget of time: MAE's cheaper steps buy it more epochs.
/// Needs `sslr data import cifar10 SOURCE` or `sslr data fetch cifar10`.
module Recipes.MaskedCifar10Cpu

open SslResearch

let setting =
    {
        Data = Cifar10
        Backbone = MaskedCpu.transformer
        Train = MaskedCpu.train
        Protocols =
            [
                Knn(k = 20, temperature = 0.1)
                LinearProbe(epochs = 100)
                FineTune(epochs = 5)
            ]
        Seeds = [ 0 ]
    }

let private epochs count =
    { setting with
        Train = { setting.Train with Epochs = count }
    }

/// Other images of a batch are SimCLR's negatives: it gets more of them.
let private contrastive count =
    { setting with
        Train =
            { setting.Train with
                Epochs = count
                BatchSize = 256
            }
    }

let simclr = CpuScale.entrant "SimCLR" 1e-3 CpuScale.two SimClr.CpuCifar

let recipe =
    {
        Name = "masked-cifar10-cpu"
        Summary = "CIFAR-10: MAE against SimCLR, same time, by linear probe and by fine-tuning"
        Tables =
            [
                Table.compare
                    "CIFAR-10, small vision transformer, same time"
                    [
                        Run.randomInit setting
                        MaskedCpu.mae.Run(epochs 9)
                        // Two views and all their patches: 5 epochs take the time of 9 of MAE.
                        Run.reference (simclr.Run(contrastive 5))
                    ]
                    setting.Protocols
            ]
    }

/// How the CPU-scale presets were chosen: each method at a few settings for two epochs, scored on a tenth of the training split that none
/// of them trained on. The test split is not looked at.
module Recipes.SearchCifar10Cpu

open SslResearch

let knn = Knn(k = 20, temperature = 0.1)

let setting =
    {
        Data = HeldOut(Cifar10, 0.1)
        Backbone = SmallResNet
        Train = { Train.CpuScale with Epochs = 2 }
        Protocols = [ knn ]
        Seeds = [ 0 ]
    }

/// A method at several learning rates.
let private at rates (entrant: CpuScale.Entrant) =
    [
        for rate in rates do
            let run: Run = entrant.At(rate, setting)
            Run.named $"{run.Name}, rate {rate}" run
    ]

let private barlow512 =
    CpuScale.entrant
        "Barlow Twins, 512 outputs, λ 0.005"
        0.03
        CpuScale.two
        { BarlowTwins.CpuCifar with
            Lambda = 0.005
            Projection =
                Deep
                    {
                        Hidden = [ 512 ]
                        Output = 512
                        BatchNorm = true
                        OutputNorm = NoNorm
                    }
        }

let private byolFaster =
    CpuScale.entrant
        "BYOL, momentum 0.95"
        0.24
        CpuScale.two
        { Byol.CpuCifar with
            StartMomentum = 0.95
        }

let private dinoSlower =
    CpuScale.entrant "DINO, momentum 0.99" 0.24 CpuScale.crops { Dino.CpuCifar with Momentum = 0.99 }

let private lejepaHeavier =
    CpuScale.entrant "LeJEPA, λ 0.05" 0.06 CpuScale.two { LeJepa.CpuCifar with Lambda = 0.05 }

let recipe =
    {
        Name = "search-cifar10-cpu"
        Summary = "CIFAR-10: settings of every method, chosen on a held-out part of the training split"
        Tables =
            [
                Table.compare
                    "Two epochs, scored on held-out training images"
                    [
                        yield! CpuScale.simclr |> at [ 0.12; 0.24 ]
                        yield! barlow512 |> at [ 0.03; 0.06; 0.12 ]
                        yield! CpuScale.byol |> at [ 0.03; 0.06; 0.12 ]
                        yield! CpuScale.simsiam |> at [ 0.06; 0.12; 0.24; 0.48 ]
                        yield! dinoSlower |> at [ 0.06; 0.12; 0.24 ]
                        yield! CpuScale.vicreg |> at [ 0.06; 0.24 ]
                        yield! lejepaHeavier |> at [ 0.06; 0.24 ]
                        yield! CpuScale.lejepa |> at [ 0.06; 0.12 ]
                        yield! CpuScale.barlow |> at [ 0.01; 0.03 ]
                        yield! byolFaster |> at [ 0.12; 0.24; 0.48 ]
                        yield! CpuScale.dino |> at [ 0.24; 0.48 ]
                        yield! CpuScale.swav |> at [ 0.06; 0.24 ]
                        yield! CpuScale.mocoV1 |> at [ 0.12; 0.24 ]
                        yield! CpuScale.mocoV2 |> at [ 0.12; 0.24 ]
                        yield! CpuScale.mocoV3 |> at [ 0.12; 0.24 ]
                        yield! CpuScale.nnclr |> at [ 0.12; 0.24 ]
                        yield! CpuScale.regression |> at [ 0.03; 0.12 ]
                        yield! CpuScale.jigsaw |> at [ 0.06; 0.12 ]
                        yield! CpuScale.rotation |> at [ 0.06; 0.12 ]
                        yield! CpuScale.colorization |> at [ 0.06; 0.12 ]
                    ]
                    setting.Protocols
            ]
    }

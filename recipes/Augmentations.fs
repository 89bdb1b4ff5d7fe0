/// Which augmentation matters, and does the temperature change the answer? A grid of leave-one-out augmentations over
/// temperatures on Shapes.
module Recipes.Augmentations

open SslResearch

let knn = Knn(k = 20, temperature = 0.1)

let simclr =
    {
        Name = "SimCLR"
        Setting =
            { Compare.setting with
                Train =
                    { Compare.setting.Train with
                        Epochs = 3
                    }
                Protocols = [ knn ]
                Seeds = [ 0 ]
            }
        Augment = twoViews CpuScale.view
        Method = SimClr.CpuCifar
    }

let temperatures =
    Axis.sweep "temperature" [ 0.1; 0.2; 0.5 ] (fun t e ->
        { e with
            Method = { SimClr.CpuCifar with Temperature = t }
        })

let recipe =
    {
        Name = "augmentations"
        Summary = "Shapes: SimCLR without each of its augmentations, at three temperatures"
        Tables =
            [
                Table.pivot "Augmentation × temperature, k-NN" simclr (Axis.leaveOneOut simclr.Augment) temperatures knn
            ]
    }

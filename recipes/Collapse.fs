/// What keeps methods without negatives from collapsing, taken away piece by piece: each training is ended as soon as it is found
/// collapsed, and its verdict names the kind. What is whole beside it runs with one seed, for its verdict alone.
module Recipes.Collapse

open SslResearch

let setting =
    {
        Data = Compare.setting.Data
        Backbone = SmallResNet
        Train = Compare.setting.Train
        Protocols = [ Knn(k = 20, temperature = 0.1) ]
        Seeds = [ 0; 1; 2 ]
    }

let private whole (entrant: CpuScale.Entrant) =
    entrant.Run { setting with Seeds = [ 0 ] } |> Run.stopAtCollapse

let private broken (entrant: CpuScale.Entrant) =
    entrant.Run setting |> Run.stopAtCollapse

/// The same rate as the method it is taken from.
let private two name (model: CpuScale.Entrant) (method: IMethod<SslResearch.Core.Views.TwoViews>) =
    CpuScale.entrant name model.Rate CpuScale.two method |> broken

let private crops name (method: IMethod<SslResearch.Core.Views.MultiCrop>) =
    CpuScale.entrant name CpuScale.dino.Rate CpuScale.crops method |> broken

let recipe =
    {
        Name = "collapse"
        Summary = "Shapes: SimSiam, BYOL, DINO and VICReg without what keeps them from collapsing"
        Tables =
            [
                Table.compare
                    "Collapse"
                    [
                        Run.randomInit setting
                        whole CpuScale.simsiam
                        two
                            "SimSiam without stop-gradient"
                            CpuScale.simsiam
                            { SimSiam.CpuCifar with
                                StopGradient = false
                            }
                        whole CpuScale.byol
                        two "BYOL without predictor" CpuScale.byol { Byol.CpuCifar with Predictor = None }
                        whole CpuScale.dino
                        crops "DINO without centring" { Dino.CpuCifar with Centring = false }
                        crops
                            "DINO without sharpening"
                            { Dino.CpuCifar with
                                Sharpening = false
                            }

                        crops
                            "DINO without centring and sharpening"
                            { Dino.CpuCifar with
                                Centring = false
                                Sharpening = false
                            }

                        whole CpuScale.vicreg
                        two "VICReg without variance term" CpuScale.vicreg { VicReg.CpuCifar with Variance = 0. }
                    ]
                    setting.Protocols
            ]
    }

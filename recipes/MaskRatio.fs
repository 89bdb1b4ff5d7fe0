/// How much to hide: MAE at shares from 15 to 90 %.
module Recipes.MaskRatio

open SslResearch

let ratios =
    Axis.sweep "hidden" [ 0.15; 0.3; 0.6; 0.75; 0.9 ] (fun ratio (e: Experiment<_>) ->
        { e with
            Augment = masked MaskedCpu.patch ratio MaskedCpu.whole
        })

let mae =
    {
        Name = "MAE"
        Setting =
            { Compare.masked with
                Train =
                    { MaskedCpu.train with
                        Rate = Rate.Fixed MaskedCpu.mae.Rate
                    }
            }
        Augment = masked MaskedCpu.patch 0.75 MaskedCpu.whole
        Method = Mae.CpuCifar
    }

let recipe =
    {
        Name = "mask-ratio"
        Summary = "Shapes: MAE by the share of hidden patches"
        Tables =
            [
                Table.compare
                    "MAE by the share of hidden patches"
                    (Grid.cells mae [ ratios ] |> List.map Run.ofCell)
                    Compare.masked.Protocols
            ]
    }

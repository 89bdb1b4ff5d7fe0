module Tests.Language.MomentumContrastTests

open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Methods
open SslResearch.Core.Views
open Tests.Support

let private card (m: IMethod<TwoViews>) = m.Card.Name

let private places (m: IMethod<TwoViews>) = m.Problems |> List.map _.Where

[<Tests>]
let tests =
    testList
        "momentum contrast records"
        [
            test "the head tells MoCo v2 from v1, and the catalogue names v1, v2, v3 and NNCLR" {
                Expect.equal (card Moco.V1) "MoCo v1" "a linear head"

                Expect.equal
                    (card
                        { Moco.V1 with
                            Projection = NoProjection
                        })
                    "MoCo v1"
                    "no head"

                Expect.equal (card Moco.V2) "MoCo v2" "an MLP"
                Expect.equal Moco.Default Moco.V2 "the default"
                let names = Methods.catalogue |> List.map _.Card.Name

                for name in [ "MoCo v1"; "MoCo v2"; "MoCo v3"; "NNCLR" ] do
                    Expect.contains names name "catalogue"
            }

            test "presets have no problems" {
                let presets: IMethod<TwoViews> list =
                    [
                        Moco.V1
                        Moco.V2
                        Moco.CpuCifarV1
                        Moco.CpuCifarV2
                        MocoV3.Default
                        MocoV3.Vit
                        MocoV3.CpuCifar
                        NnClr.Default
                        NnClr.CpuCifar
                    ]

                for m in presets do
                    Expect.isEmpty m.Problems (card m)
            }

            test "the momentum of MoCo v3 rises to its end by half a cosine" {
                use encoder = Networks.preset ()

                use method =
                    (MocoV3.CpuCifar :> IMethod<TwoViews>).Build
                        {
                            Image = SslResearch.Core.Data.ImageShape(32, 32, 3)
                            Classes = 10
                            Normalisation = (Data.constants Cifar10).Value
                            Encoder = encoder
                            Seed = 1UL
                            Device = torch.CPU
                            BatchSize = 16
                            Trained = fun _ -> failwith "builds on no run"
                        }

                for teacher in method.Teachers do
                    let at step =
                        teacher.Momentum.Invoke(StepContext(1UL, step, 100L, 0))

                    Expect.floatClose Accuracy.high (at 0L) 0.99 "start"
                    Expect.floatClose Accuracy.high (at 50L) 0.995 "middle"
                    Expect.floatClose Accuracy.high (at 100L) 1. "end"
            }

            test "nonsense is found before anything runs" {
                Expect.equal
                    (places
                        { Moco.V1 with
                            QueueSize = 0
                            Momentum = 1.5
                            Temperature = 0.
                            Projection = LinearProjection 0
                            NormSplits = 0
                        })
                    [ "QueueSize"; "Momentum"; "Temperature"; "Projection.output"; "NormSplits" ]
                    "MoCo"

                Expect.equal
                    (places
                        { MocoV3.CpuCifar with
                            FinalMomentum = -1.
                            Predictor = LinearProjection 5
                        })
                    [ "FinalMomentum"; "Predictor" ]
                    "MoCo v3"

                Expect.equal
                    (places
                        { NnClr.CpuCifar with
                            QueueSize = 0
                            Predictor = LinearProjection 5
                        })
                    [ "QueueSize"; "Predictor" ]
                    "NNCLR"

                Expect.isEmpty
                    (places
                        { NnClr.CpuCifar with
                            Predictor = NoProjection
                        })
                    "without a predictor"
            }
        ]

module Tests.Core.InitialValueTests

open Expecto
open TorchSharp
open SslResearch.Core.Models
open SslResearch.Core.Models.Layers
open Tests.Support.Networks

/// One parameter with this initial value.
type private Values(rule: InitialValue, count: int64) as this =
    inherit torch.nn.Module("values")
    do this.register_parameter ("weight", new Modules.Parameter(torch.zeros count))

    interface IInitialised with
        member _.Initial(_, _) = rule

let private drawn rule count =
    use layer = new Values(rule, count)
    SeededInitialisation.Apply(layer, 1UL)
    doubles (snd (List.exactlyOne (parameters layer)))

let private deviation (x: float[]) =
    sqrt (Array.averageBy (fun v -> v * v) x)

[<Tests>]
let tests =
    testList
        "initial values"
        [
            test "a truncated normal with a small deviation is a normal" {
                let x = drawn (TruncatedNormalValue 0.02) 40_001L
                Expect.floatClose { absolute = 3e-4; relative = 0. } (deviation x) 0.02 "deviation"
                Expect.floatClose { absolute = 4e-4; relative = 0. } (Array.average x) 0. "mean"
                Expect.isGreaterThan (Array.max x) 0.07 "nothing is cut at two deviations"
                Expect.all x ((<>) 0.) "every value is drawn"
            }

            test "a truncated normal with a large deviation stays within ±2" {
                // Conditioned on |x| ≤ 2σ a normal has deviation σ·√(1 − 4φ(2)/(2Φ(2) − 1)); clamping would give another one.
                let x = drawn (TruncatedNormalValue 1.) 40_001L
                Expect.all x (fun v -> abs v <= 2.) "bounds"
                Expect.all x (fun v -> abs v < 2.) "no heap on the bounds"
                Expect.isGreaterThan (Array.max x) 1.99 "up to the upper bound"
                Expect.isLessThan (Array.min x) -1.99 "down to the lower bound"
                Expect.floatClose { absolute = 0.012; relative = 0. } (deviation x) 0.879626 "deviation"
            }
        ]

/// Models of time: LSTM and causal transformer.
module Tests.Core.TimeModelTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Models
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals
open Tests.Support.SmallNextFrame

let private build inputs (options: TimeModelOptions) =
    let model = TimeModel.Create(inputs, options)
    SeededInitialisation.Apply(model, 5UL, "time")
    model

let private set (p: torch.Tensor) (source: torch.Tensor) =
    use _ = torch.no_grad ()
    p.copy_ source |> ignore

/// A number for each row, step and element.
let private series seed (rows: int) (steps: int) (width: int) =
    (tensor [| int64 rows; int64 steps; int64 width |] (arbitrary seed (rows * steps * width))).``to`` torch.float32

[<Tests>]
let tests =
    testList
        "models of time"
        [
            test "LSTM: values and gradients of torch's own" {
                use scope = torch.NewDisposeScope()
                use ours = build 4 (LstmOptions(3, 2))
                use theirs = torch.nn.LSTM(4L, 3L, 2L, batchFirst = true)
                let own = parameters ours |> Map.ofList

                for name, p in parameters theirs do
                    let layer = name.Substring(name.Length - 1)

                    let source =
                        if name.StartsWith "weight_ih" then
                            own[$"layers.{layer}.from_input.weight"]
                        elif name.StartsWith "weight_hh" then
                            own[$"layers.{layer}.from_state.weight"]
                        elif name.StartsWith "bias_ih" then
                            own[$"layers.{layer}.from_input.bias"]
                        else
                            torch.zeros_like p

                    set p source

                let x = series 1 5 4 4
                let struct (expected, _, _) = theirs.forward (x, Nullable())
                let got = ours.call x
                Expect.equal got.shape [| 5L; 4L; 3L |] "shape"
                Expect.isTrue (torch.allclose (got, expected, 1e-5, 1e-6)) "values"
                got.square().mean().backward()
                expected.square().mean().backward()
                let theirs = parameters theirs |> Map.ofList

                for layer in 0..1 do
                    for mine, name in
                        [
                            "from_input.weight", "weight_ih"
                            "from_state.weight", "weight_hh"
                            "from_input.bias", "bias_ih"
                        ] do
                        let a, b = own[$"layers.{layer}.{mine}"].grad, theirs[$"{name}_l{layer}"].grad
                        Expect.isTrue (torch.allclose (a, b, 1e-4, 1e-7)) $"gradient of {name}_l{layer}"
            }

            test "LSTM: loops from the equations" {
                use scope = torch.NewDisposeScope()
                use model = build 3 (LstmOptions(2, 1))
                let own = parameters model |> Map.ofList

                let rows (name: string) width =
                    doubles own[name] |> Array.chunkBySize width

                let wx, wh, b =
                    rows "layers.0.from_input.weight" 3,
                    rows "layers.0.from_state.weight" 2,
                    doubles own["layers.0.from_input.bias"]

                let x = arbitrary 2 12 |> Array.chunkBySize 3 // one row of four steps
                let dot = Array.fold2 (fun s p q -> s + p * q) 0.
                let sigmoid v = 1. / (1. + exp -v)
                let h, c = [| 0.; 0. |], [| 0.; 0. |]

                let expected =
                    [|
                        for step in x do
                            let gate k j =
                                let row = 2 * k + j
                                dot wx[row] step + dot wh[row] h + b[row]

                            let cell =
                                Array.init 2 (fun j -> sigmoid (gate 1 j) * c[j] + sigmoid (gate 0 j) * tanh (gate 2 j))

                            let state = Array.init 2 (fun j -> sigmoid (gate 3 j) * tanh cell[j])
                            Array.blit state 0 h 0 2
                            Array.blit cell 0 c 0 2
                            yield! state
                    |]

                Array.iter2 (close "state" 1e-5) expected (doubles (model.call (series 2 1 4 3)))
            }

            test "a state depends on no later step, and on every earlier one" {
                for name, options in timeModels do
                    use scope = torch.NewDisposeScope()
                    use model = build 4 options
                    let x = series 1 3 5 4
                    let before = model.call x
                    Expect.equal before.shape [| 3L; 5L; int64 model.FeatureCount |] name

                    for t in 0..4 do
                        let moved = x.clone ()
                        moved.select(1, int64 t).add_((0.5).ToScalar()) |> ignore
                        let change = largest (model.call moved - before)

                        for s in 0..4 do
                            if s < t then
                                Expect.isLessThan change[s] 1e-6 $"{name}: state {s}, step {t}"
                            else
                                Expect.isGreaterThan change[s] 1e-5 $"{name}: state {s}, step {t}"
            }

            test "a beginning has the states of the whole" {
                for name, options in timeModels do
                    use scope = torch.NewDisposeScope()
                    use model = build 4 options
                    let x = series 1 3 5 4
                    let whole = model.call x

                    for steps in 1L .. 4L do
                        let part = model.call (x.narrow (1, 0, steps))
                        Expect.isTrue (torch.allclose (part, whole.narrow (1, 0, steps), 1e-5, 1e-6)) $"{name}, {steps}"
            }

            test "impossible models and inputs are refused" {
                for options in
                    [
                        LstmOptions(0, 1) :> TimeModelOptions
                        LstmOptions(4, 0)
                        CausalTransformerOptions(6, 1, 2, 2.)
                        CausalTransformerOptions(8, 0, 2, 2.)
                        CausalTransformerOptions(8, 1, 3, 2.)
                    ] do
                    Expect.isNotEmpty (message (fun () -> TimeModel.Create(4, options))) $"{options}"

                use wrong = torch.zeros (2L, 3L, 5L)

                for name, options in timeModels do
                    use model = build 4 options
                    Expect.stringContains (message (fun () -> model.call wrong)) "expected (M, T, 4)" name
            }
        ]

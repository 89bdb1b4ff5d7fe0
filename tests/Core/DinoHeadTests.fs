module Tests.Core.DinoHeadTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Models
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

/// A change outside autograd.
let private changed (f: unit -> torch.Tensor) =
    use _ = torch.no_grad ()
    f () |> ignore

let private head inputs layers hidden bottleneck prototypes norm =
    let head = new DinoHead(inputs, DinoHeadOptions(layers, hidden, bottleneck, prototypes, norm))
    SeededInitialisation.Apply(head, 3UL, "head")
    head

let private golden double =
    let precision = if double then "float64" else "float32"

    test $"golden dino_head {precision}" {
        use scope = torch.NewDisposeScope()
        let e = Golden.entry "models" "dino_head"

        let p (name: string) =
            e.GetProperty("params").GetProperty(name).GetInt32()

        use model =
            new DinoHead(p "in_dim", DinoHeadOptions(p "nlayers", p "hidden", p "bottleneck", p "out", false))

        let dtype = if double then torch.float64 else torch.float32
        model.``to`` dtype |> ignore
        let own = parameters model |> Map.ofList

        for parameter in e.GetProperty("parameters").EnumerateArray() do
            let name = parameter[1].GetString()

            if name <> "last_layer.weight_g" then // the gain, fixed at 1
                let shape = [| for d in parameter[2].EnumerateArray() -> d.GetInt64() |]
                let k = float (parameter[0].GetInt32())
                let count = shape |> Array.fold (*) 1L |> int
                let values = Array.init count (fun i -> 0.05 * sin (0.1 * float i + k))
                Expect.equal own[name].shape shape name
                use _ = torch.no_grad ()
                own[name].copy_(tensor shape values) |> ignore

        let expected = e.GetProperty "expected"

        Expect.equal
            (count model + int64 (p "out"))
            (expected.GetProperty("parameter_count").GetInt64())
            "parameters, with the gain"

        let out = doubles (model.call ((Golden.input "z" e ||> tensor).``to`` dtype))
        let summary = expected.GetProperty "out"
        let sumsq = summary.GetProperty("sumsq").GetDouble()
        let bound = if double then 1e-7 else 1e-5
        let rms = sqrt (sumsq / float out.Length)
        close "norm" (bound * sqrt sumsq) (sqrt sumsq) (sqrt (Array.sumBy (fun x -> x * x) out))
        close "mean" (10. * bound * rms) (summary.GetProperty("mean").GetDouble()) (Array.average out)

        Golden.floats (summary.GetProperty "first")
        |> Array.iteri (fun i x -> close $"element {i}" (10. * bound * rms) x out[i])
    }

[<Tests>]
let tests =
    testList
        "dino head"
        [
            golden true
            golden false

            test "names with batch norm, and for any number of layers" {
                let names layers norm =
                    use head = head 6 layers 5 4 3 norm
                    [ for name, _ in parameters head -> name ]

                Expect.equal
                    (names 2 true)
                    [
                        "mlp.0.weight"
                        "mlp.0.bias"
                        "mlp.1.weight"
                        "mlp.1.bias"
                        "mlp.3.weight"
                        "mlp.3.bias"
                        "last_layer.weight_v"
                    ]
                    "two layers, batch norm"

                Expect.equal (names 1 true) [ "mlp.0.weight"; "mlp.0.bias"; "last_layer.weight_v" ] "one layer"
                Expect.contains (names 3 false) "mlp.4.weight" "three layers"
            }

            test "initial weights: deviation 0.02, bias 0; scores are cosines" {
                use scope = torch.NewDisposeScope()
                use head = head 64 3 128 32 20 false

                for name, p in parameters head do
                    let values = doubles p

                    if name.EndsWith "bias" then
                        Expect.all values ((=) 0.) name
                    elif name.StartsWith "mlp" then
                        let deviation = sqrt (values |> Array.averageBy (fun x -> x * x))
                        close name 0.001 0.02 deviation
                        close $"mean of {name}" 0.002 0. (Array.average values)

                let h = torch.randn (10L, 64L)
                let unit = head.Unit h
                Expect.all (doubles (unit.norm (1, p = 2f))) (fun l -> abs (l - 1.) < 1e-5) "length 1"
                Expect.all (doubles (head.call h)) (fun s -> abs s <= 1. + 1e-6) "cosines"
                Array.iter2 (close "two steps" 1e-6) (doubles (head.call h)) (doubles (head.Scores(unit, true)))
                let v = parameters head |> List.find (fst >> (=) "last_layer.weight_v") |> snd
                let before = doubles (head.call h)

                changed (fun () -> v.mul_ ((3.).ToScalar()))

                Array.iter2 (close "length of prototypes" 1e-5) before (doubles (head.call h))
            }

            test "features of zero have finite gradients" {
                use scope = torch.NewDisposeScope()
                use head = head 6 3 5 4 3 false
                let h = torch.zeros(10L, 6L).requires_grad_()
                head.call(h).square().sum().backward()
                Expect.all (doubles h.grad) Double.IsFinite "h"

                for name, p in parameters head do
                    Expect.all (doubles p.grad) Double.IsFinite name
            }

            test "frozen prototypes get no gradient, everything before them does" {
                use scope = torch.NewDisposeScope()
                use head = head 6 2 5 4 3 true
                let h = torch.randn (10L, 6L)
                head.Scores(head.Unit h, true).square().mean().backward()

                for name, p in parameters head do
                    Expect.equal (isNull p.grad) (name = "last_layer.weight_v") name
            }

            test "prototypes start and end with length 1, and frozen ones get no gradient" {
                use scope = torch.NewDisposeScope()
                use prototypes = new Prototypes(5, 7)
                SeededInitialisation.Apply(prototypes, 3UL, "prototypes")
                let weight = parameters prototypes |> List.head |> snd
                let lengths () = doubles (weight.norm (1, p = 2f))
                Expect.all (lengths ()) (fun l -> abs (l - 1.) < 1e-6) "at the start"
                let before = doubles weight

                changed (fun () -> weight.mul_ ((0.3).ToScalar()))

                let address = weight.Handle
                prototypes.Normalise()
                Array.iter2 (close "directions" 1e-6) before (doubles weight)
                Expect.equal weight.Handle address "in place"
                let z = torch.randn (4L, 5L)
                prototypes.Scores(z, true).mean() |> ignore
                Expect.isFalse (prototypes.Scores(z, true).requires_grad) "frozen"
                prototypes.call(z).mean().backward()
                Expect.isNotNull weight.grad "not frozen"
            }

            test "rows on the sphere lie in no preferred direction" {
                use scope = torch.NewDisposeScope()
                use prototypes = new Prototypes(4, 4000)
                SeededInitialisation.Apply(prototypes, 3UL, "prototypes")
                let weight = parameters prototypes |> List.head |> snd
                Array.iter (close "mean" 0.03 0.) (doubles (weight.mean [| 0L |]))
                let covariance = weight.t().mm(weight).div(torch.tensor 4000f)

                Array.iter2
                    (close "covariance" 0.02)
                    (doubles (torch.eye(4L).mul(torch.tensor 0.25f)))
                    (doubles covariance)
            }

            test "impossible heads are refused" {
                let refused f =
                    Expect.throwsT<ArgumentException>(fun () -> f () |> ignore)

                refused (fun () -> new DinoHead(4, DinoHeadOptions(0, 4, 4, 4, false))) "layers"
                refused (fun () -> new DinoHead(4, DinoHeadOptions(3, 4, 4, 1, false))) "prototypes"
                refused (fun () -> new Prototypes(4, 1)) "prototypes"
                use head = head 6 2 5 4 3 true
                use wrong = torch.zeros (2L, 5L)
                refused (fun () -> head.call wrong) "inputs"
            }
        ]

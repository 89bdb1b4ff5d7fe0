module Tests.Core.LossesTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Numbers
open Tests.Support.Refusals

let private tensor (shape: int64[]) (values: float[]) =
    torch.tensor(values, dtype = torch.float64).reshape shape

let private doubles (t: torch.Tensor) =
    use flat = t.detach().``to``(torch.float64).contiguous().flatten()
    flat.data<float>().ToArray()

/// Eq. 1 of the paper, loop by loop; rows i and n+i are the views of image i.
let private naive (z: float[][]) temperature =
    let rows = z.Length
    let n = rows / 2
    let length v = sqrt (Array.sumBy (fun x -> x * x) v)

    let similarity i j =
        Array.fold2 (fun s a b -> s + a * b) 0. z[i] z[j] / (length z[i] * length z[j])

    let one i =
        let partner = (i + n) % rows

        let others =
            seq {
                for j in 0 .. rows - 1 do
                    if j <> i then
                        exp (similarity i j / temperature)
            }

        -log(exp (similarity i partner / temperature) / Seq.sum others)

    Seq.init rows one |> Seq.average

let private value (z: float[]) rows (temperature: float) =
    use scope = torch.NewDisposeScope()
    NtXent.Loss(tensor [| int64 rows; int64 (z.Length / rows) |] z, temperature).item<float>()

let private golden =
    [
        for e in Golden.family "losses" [ "ntxent"; "simclr_solo" ] do
            let id = Golden.id e

            for double in [ true; false ] do
                let precision = if double then "float64" else "float32"

                test $"golden {id} {precision}" {
                    use scope = torch.NewDisposeScope()
                    let dtype = if double then torch.float64 else torch.float32

                    let view name =
                        (Golden.input name e ||> tensor).``to``(dtype).requires_grad_()

                    let a, b = view "A", view "B"
                    let temperature = e.GetProperty("params").GetProperty("temperature").GetDouble()
                    let loss = NtXent.Loss(a, b, temperature)
                    loss.backward ()
                    let expected = e.GetProperty "expected"
                    let bound = Golden.bound e double
                    let want = expected.GetProperty("value").GetDouble()
                    let got = doubles loss

                    Expect.isTrue (Golden.close (bound "rtol") (bound "atol") want got[0]) $"{want} against {got[0]}"

                    let gradientBound = Golden.gradientBound e double

                    for name, t in [ "A", a; "B", b ] do
                        let summary = expected.GetProperty("grad").GetProperty name
                        let g = doubles t.grad
                        let norm = sqrt (summary.GetProperty("sumsq").GetDouble())
                        let gotNorm = sqrt (Array.sumBy (fun x -> x * x) g)
                        Expect.isTrue (Golden.close gradientBound 0. norm gotNorm) $"norm of gradient {name}"

                        Golden.floats (summary.GetProperty "first6")
                        |> Array.iteri (fun i x ->
                            Expect.isTrue
                                (Golden.close 0. (gradientBound * norm) x g[i])
                                $"gradient {name}[{i}]: {x} against {g[i]}")
                }
    ]

[<Tests>]
let tests =
    testList
        "losses"
        [
            testList "ntxent golden" golden

            test "ntxent equals loops from the paper" {
                for images in [ 1; 2; 3; 7 ] do
                    for width in [ 1; 2; 5; 16 ] do
                        for temperature in [ 0.05; 0.5; 2. ] do
                            let z = arbitrary images (2 * images * width)
                            let expected = naive (Array.chunkBySize width z) temperature
                            let got = value z (2 * images) temperature

                            Expect.isTrue
                                (Golden.close 1e-9 1e-11 expected got)
                                $"{images} × {width} at {temperature}: {expected} against {got}"
            }

            test "ntxent gradient equals finite differences" {
                let rows, width, h = 8, 3, 1e-6
                let z = arbitrary 3 (rows * width)
                use scope = torch.NewDisposeScope()
                let t = (tensor [| int64 rows; int64 width |] z).requires_grad_()
                NtXent.Loss(t, 0.2).backward()

                doubles t.grad
                |> Array.iteri (fun i gradient ->
                    let moved d =
                        value (Array.mapi (fun j x -> if i = j then x + d else x) z) rows 0.2

                    let difference = (moved h - moved -h) / (2. * h)

                    Expect.isTrue
                        (Golden.close 1e-6 1e-8 difference gradient)
                        $"element {i}: {difference} against {gradient}")
            }

            test "ntxent does not see order of images, swap of views, length of vectors" {
                let rows, width = 10, 4
                let z = arbitrary 5 (rows * width) |> Array.chunkBySize width
                let expected = value (Array.concat z) rows 0.3

                let check what rearranged =
                    Expect.floatClose Accuracy.high (value (Array.concat rearranged) rows 0.3) expected what

                let n = rows / 2
                check "views swapped" [| for i in 0 .. rows - 1 -> z[(i + n) % rows] |]
                let order = [| 3; 0; 4; 1; 2 |]

                check
                    "images permuted"
                    [|
                        for v in 0..1 do
                            for i in order -> z[v * n + i]
                    |]

                check "rows scaled" (z |> Array.mapi (fun i -> Array.map (fun x -> x * float (i + 1))))

                let wrong =
                    value
                        (Array.concat [| for i in 0 .. rows - 1 -> z[if i < n then i else n + (i + 1) % n] |])
                        rows
                        0.3

                Expect.isGreaterThan (abs (wrong - expected)) 1e-3 "partners permuted alone is another loss"
            }

            test "ntxent at collapse is ln(2N-1), with finite gradients" {
                for dtype in [ torch.float32; torch.float64 ] do
                    for fill in [ 1.; 0. ] do
                        use scope = torch.NewDisposeScope()
                        let z = torch.full([| 8L; 5L |], fill.ToScalar(), dtype = dtype).requires_grad_()
                        let loss = NtXent.Loss(z, 0.1)
                        loss.backward ()
                        let got = Array.head (doubles loss)
                        Expect.isTrue (Golden.close 1e-6 0. (log 7.) got) $"all rows {fill}"
                        Expect.all (doubles z.grad) Double.IsFinite $"gradient where all rows are {fill}"

                Expect.floatClose Accuracy.high (NtXent.Chance 4) (log 7.) "the stated chance level"
            }

            test "ntxent refuses other shapes and temperatures with a clear message" {
                use scope = torch.NewDisposeScope()

                Expect.stringContains
                    (message (fun () -> NtXent.Loss(torch.zeros (3L, 4L), 0.5)))
                    "(2N, d) with N ≥ 1, received (3, 4)"
                    "odd rows"

                Expect.stringContains
                    (message (fun () -> NtXent.Loss(torch.zeros 4L, 0.5)))
                    "received (4)"
                    "one dimension"

                Expect.stringContains
                    (message (fun () -> NtXent.Loss(torch.zeros (4L, 4L), 0.)))
                    "received 0"
                    "temperature"

                Expect.stringContains
                    (message (fun () -> NtXent.Loss(torch.zeros (4L, 4L), torch.zeros (4L, 3L), 0.5)))
                    "(4, 4) and (4, 3)"
                    "two shapes"
            }

            test "ntxent leaves no tensors behind" {
                use scope = torch.NewDisposeScope()
                use z = torch.rand (8L, 4L)
                use first = NtXent.Loss(z, 0.5)
                let before = Tests.Support.LiveTensors.settled ()

                for _ in 1..3 do
                    use loss = NtXent.Loss(z, 0.5)
                    ignore loss

                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }
        ]

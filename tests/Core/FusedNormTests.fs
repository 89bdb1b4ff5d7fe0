module Tests.Core.FusedNormTests

open System
open Expecto
open SslResearch.Core.Models.Layers
open Tests.Support.Refusals
open TorchSharp

let private channelsLast (t: torch.Tensor) =
    t.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L)

let private floats (t: torch.Tensor) =
    t.detach().contiguous().cpu().data<float32>().ToArray()

/// Output, gradients and running statistics of one call on a batch in parts, by the fused operation or by torch's separate ones.
let private results fused (channels: int64) residual relu chunks =
    torch.manual_seed 1L |> ignore

    let images () =
        channelsLast (torch.randn(9L, channels, 5L, 7L).mul(2.f.ToScalar()).add(3.f.ToScalar()))

    let leaf (t: torch.Tensor) = t.detach().clone().requires_grad_()
    let x, r = leaf (images ()), leaf (images ())
    let weight, bias = leaf (torch.randn channels), leaf (torch.randn channels)
    let outer = images ()
    let mean, variance = torch.zeros channels, torch.ones channels

    let y =
        if fused then
            FusedNorm.Apply(x, (if residual then r else null), weight, bias, mean, variance, 0.1, 1e-5, relu, chunks)
        else
            let y =
                torch.cat (
                    [|
                        for c in 0 .. chunks - 1 do
                            let first = 9 * c / chunks
                            let part = x.narrow (0L, int64 first, int64 (9 * (c + 1) / chunks - first))
                            torch.nn.functional.batch_norm (part, mean, variance, weight, bias, true, 0.1, 1e-5)
                    |],
                    0L
                )

            let y = if residual then y + r else y
            if relu then torch.nn.functional.relu y else y

    (y * outer).sum().backward()

    [
        "output", floats y
        "input gradient", floats x.grad
        "weight gradient", floats weight.grad
        "bias gradient", floats bias.grad
        if residual then
            "residual gradient", floats r.grad
        "running mean", floats mean
        "running variance", floats variance
    ]

[<Tests>]
let tests =
    testList
        "fused norm"
        [
            for channels in [ 2L; 13L; 16L; 48L; 67L ] do
                for residual in [ false; true ] do
                    for relu, chunks in [ false, 1; true, 1; false, 4; true, 4 ] do
                        test
                            $"agrees with torch at {channels} channels, residual {residual}, relu {relu}, {chunks} chunks" {
                            use _scope = torch.NewDisposeScope()

                            for (name, got), (_, expected) in
                                List.zip
                                    (results true channels residual relu chunks)
                                    (results false channels residual relu chunks) do
                                let largest = expected |> Array.fold (fun m v -> max m (abs v)) 1e-3f

                                for g, e in Array.zip got expected do
                                    Expect.isLessThan (abs (g - e)) (2e-4f * largest) $"{name}: {g} against {e}"
                        }

            test "result does not depend on the number of threads" {
                use _scope = torch.NewDisposeScope()
                let threads = torch.get_num_threads ()

                try
                    torch.set_num_threads 1
                    let one = results true 48L true true 4
                    torch.set_num_threads 3
                    Expect.equal (results true 48L true true 4) one "bit for bit"
                finally
                    torch.set_num_threads threads
            }

            test "keeps the running statistics of a channel whose mean is far from zero" {
                use _scope = torch.NewDisposeScope()
                let x = channelsLast (torch.randn(64L, 16L, 4L, 4L).add(1000.f.ToScalar()))
                let expected = x.var ([| 0L; 2L; 3L |], true) |> floats
                let mean, variance = torch.zeros 16L, torch.zeros 16L

                FusedNorm.Apply(x, null, torch.ones 16L, torch.zeros 16L, mean, variance, 1., 1e-5, false)
                |> ignore

                for g, e in Array.zip (floats variance) expected do
                    Expect.isLessThan (abs (g - e)) (1e-4f * e) "variance"
            }

            test "leaves no tensors behind" {
                let before = Tests.Support.LiveTensors.settled ()

                for _ in 1..3 do
                    use _scope = torch.NewDisposeScope()
                    results true 16L true true 1 |> ignore

                Expect.equal torch.Tensor.TotalCount before "live tensors"
            }

            test "a backward pass gives its memory back while it runs" {
                use _scope = torch.NewDisposeScope()
                let image = 64L * 16L * 32L * 32L * 4L // bytes
                let input = channelsLast(torch.randn (64L, 16L, 32L, 32L)).requires_grad_()
                let weight, bias = torch.ones 16L, torch.zeros 16L
                let mean, variance = torch.zeros 16L, torch.ones 16L

                let apply (x: torch.Tensor) =
                    FusedNorm.Apply(x, null, weight, bias, mean, variance, 0.1, 1e-5, true)

                let sum = (Seq.init 8 id |> Seq.fold (fun x _ -> apply x) input).sum()

                match Tests.Support.NativeHeap.inUse () with
                | None -> skiptest "no mallinfo2"
                | Some before ->
                    sum.backward ()
                    let after = Tests.Support.NativeHeap.inUse().Value
                    // Eight norms; the gradient of the input and that which was handed over last stay.
                    Expect.isLessThan (after - before) (3L * image) "bytes gained by the backward pass"
            }

            test "leaves nothing to the garbage collector" {
                let input = channelsLast (torch.randn (2L, 16L, 4L, 4L))
                let weight, bias = (torch.ones 16L).requires_grad_(), torch.zeros 16L
                let mean, variance = torch.zeros 16L, torch.ones 16L

                let run times =
                    for _ in 1..times do
                        use _scope = torch.NewDisposeScope()
                        FusedNorm.Apply(input, input, weight, bias, mean, variance, 0.1, 1e-5, true).sum().backward()

                    Tests.Support.NativeHeap.inUse () |> Option.defaultValue 0L

                if GC.TryStartNoGCRegion(100L <<< 20) then
                    try
                        // The compiler's own memory comes and goes; what each call leaves behind shows in every window.
                        let sizes = [ for _ in 0..8 -> run 500 ]
                        let least = sizes |> List.pairwise |> List.map (fun (a, b) -> b - a) |> List.min
                        Expect.isLessThan least (500L * 50L) $"native bytes of 500 calls, {sizes}"
                    finally
                        GC.EndNoGCRegion()
            }

            test "a second backward pass is an error, not a crash" {
                use _scope = torch.NewDisposeScope()
                let x = channelsLast(torch.randn (2L, 16L, 4L, 4L)).requires_grad_()
                let c () = torch.ones 16L
                let y = FusedNorm.Apply(x, null, c (), c (), c (), c (), 0.1, 1e-5, true).sum()
                y.backward (null, true)

                Expect.throwsT<Runtime.InteropServices.ExternalException>
                    (fun () -> y.backward (null, true))
                    "the saved values are gone"
            }

            test "refuses contiguous input" {
                use _scope = torch.NewDisposeScope()
                let x = torch.randn (2L, 16L, 4L, 4L)
                let c = torch.ones 16L

                Expect.throwsT<ArgumentException>
                    (fun () -> FusedNorm.Apply(x, null, c, c, c, c, 0.1, 1e-5, true) |> ignore)
                    "strides are checked"
            }

            test "refuses what it would read beyond" {
                use _scope = torch.NewDisposeScope()
                let x = channelsLast (torch.randn (2L, 16L, 4L, 4L))

                let image (n: int64) (c: int64) =
                    channelsLast (torch.randn (n, c, 4L, 4L))

                let c n = torch.ones (n: int64)

                let apply residual (sizes: int64 list) chunks =
                    FusedNorm.Apply(
                        x,
                        residual,
                        c sizes[0],
                        c sizes[1],
                        c sizes[2],
                        c sizes[3],
                        0.1,
                        1e-5,
                        true,
                        chunks
                    )

                let all = [ 16L; 16L; 16L; 16L ]
                refused "received Float32 (1, 16, 4, 4)" (fun () -> apply (image 1L 16L) all 1)
                refused "received Float32 (2, 8, 4, 4)" (fun () -> apply (image 2L 8L) all 1)
                refused "received Float64" (fun () -> apply ((image 2L 16L).``to`` torch.float64) all 1)

                for i in 0..3 do
                    refused "expected (16) float32" (fun () -> apply null (List.updateAt i 8L all) 1)

                refused "chunks" (fun () -> apply null all 0)
                refused "chunks" (fun () -> apply null all 3)
            }
        ]

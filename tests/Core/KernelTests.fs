/// The kernels that take the place of torch's on CPUs with 512-bit vectors, against torch in double precision. Elsewhere the same calls
/// go to torch, and these tests hold too.
module Tests.Core.KernelTests

open System
open Expecto
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models.Layers
open SslResearch.Core.Runtime
open Tests.Support.Networks
open Tests.Support.Refusals
open TorchSharp

let private random (seed: int64) (shape: int64 list) =
    use generator = new torch.Generator(uint64 seed)
    torch.randn (List.toArray shape, generator = generator)

let private wide (t: torch.Tensor) =
    t.detach().``to``(torch.float64).requires_grad_()

/// Single precision loses some part of the largest element.
let private nearTo part (expected: torch.Tensor) (got: torch.Tensor) what =
    let difference = (got.detach().``to``(torch.float64) - expected.detach ()).abs().max().item<double>()

    let size = expected.detach().abs().max().item<double>()
    Expect.isLessThan difference (part * size + 1e-7) what

let private near = nearTo 3e-6

/// Output and gradients of an operation of float32 inputs against its definition in float64.
let private agreesTo part (operation: torch.Tensor list -> torch.Tensor) definition (inputs: torch.Tensor list) =
    let single = inputs |> List.map (fun t -> t.detach().requires_grad_())
    let double = inputs |> List.map wide
    let y: torch.Tensor = operation single
    let expected: torch.Tensor = definition double
    let outer = random 99L (List.ofArray expected.shape)
    y.backward [| outer |]
    expected.backward [| outer.``to`` torch.float64 |]
    nearTo part expected y "output"
    List.iteri2 (fun i (d: torch.Tensor) (s: torch.Tensor) -> nearTo part d.grad s.grad $"gradient {i}") double single

let private agrees = agreesTo 3e-6

let private linear (inputs: torch.Tensor list) =
    torch.nn.functional.linear (inputs[0], inputs[1], (if inputs.Length > 2 then inputs[2] else null))

let private product (inputs: torch.Tensor list) =
    MatrixProduct.Linear(inputs[0], inputs[1], (if inputs.Length > 2 then inputs[2] else null))

let private attention heads causal (inputs: torch.Tensor list) =
    let qkv = inputs[0]
    let n, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] / 3L

    let parts =
        qkv.view(n, tokens, 3L, int64 heads, width / int64 heads).permute(2L, 0L, 3L, 1L, 4L).unbind 0

    torch.nn.functional
        .scaled_dot_product_attention(parts[0], parts[1], parts[2], is_casual = causal)
        .transpose(1L, 2L)
        .flatten
        2L

/// Logits, bins, shares and weights of pixels.
let private colours rows count neighbours =
    let bins = Array.init (int (rows * neighbours)) (fun i -> (int64 i * 7L + int64 i / neighbours) % count)

    random 1L [ rows; count ],
    torch.tensor(bins).reshape(rows, neighbours),
    torch.nn.functional.softmax (random 2L [ rows; neighbours ], 1L),
    (random 3L [ count ]).exp()

let private withThreads count work =
    let before = torch.get_num_threads ()
    torch.set_num_threads count

    try
        work ()
    finally
        torch.set_num_threads before

[<Tests>]
let tests =
    testList
        "kernels"
        [
            for rows, inputs, outputs in
                [
                    1L, 16L, 16L
                    7L, 64L, 48L
                    130L, 208L, 112L
                    3L, 400L, 16L
                    40L, 24L, 10L // no whole vectors: torch's own
                ] do
                test $"product {rows} × {inputs} × {outputs} with and without bias" {
                    use _scope = torch.NewDisposeScope()
                    let x, w, b = random 1L [ rows; inputs ], random 2L [ outputs; inputs ], random 3L [ outputs ]
                    agrees product linear [ x; w; b ]
                    agrees product linear [ x; w ]
                }

            test "product of rows of any shape, of transposed matrices and of a matrix with itself" {
                use _scope = torch.NewDisposeScope()
                agrees product linear [ random 1L [ 3L; 5L; 32L ]; random 2L [ 48L; 32L ]; random 3L [ 48L ] ]

                let turned (f: torch.Tensor list -> torch.Tensor) (inputs: torch.Tensor list) =
                    f [ inputs[0].t(); inputs[1].t() ]

                agrees (turned product) (turned linear) [ random 1L [ 21L; 32L ]; random 2L [ 21L; 64L ] ]

                let gram (f: torch.Tensor list -> torch.Tensor) (inputs: torch.Tensor list) =
                    f [ inputs[0].t(); inputs[0].t() ]

                agrees (gram product) (gram linear) [ random 1L [ 16L; 32L ] ]
                let slice (inputs: torch.Tensor list) = inputs[0].narrow(1L, 16L, 32L)

                agrees
                    (fun i -> product [ slice i; i[1] ])
                    (fun i -> linear [ slice i; i[1] ])
                    [ random 1L [ 9L; 64L ]; random 2L [ 16L; 32L ] ]
            }

            test "product: nothing without rows, and torch's error for shapes that do not fit" {
                use _scope = torch.NewDisposeScope()
                let empty = MatrixProduct.Linear(torch.empty (0L, 32L), random 1L [ 16L; 32L ])
                Expect.equal empty.shape [| 0L; 16L |] "no rows"

                Expect.throws
                    (fun () -> MatrixProduct.Linear(random 1L [ 4L; 32L ], random 2L [ 16L; 48L ]) |> ignore)
                    "other widths"

                Expect.throws
                    (fun () ->
                        MatrixProduct.Linear(random 1L [ 4L; 32L ], random 2L [ 48L; 32L ], random 3L [ 16L ])
                        |> ignore)
                    "a shorter bias"

                use queue = new FeatureQueue(random 4L [ 20L; 64L ])

                Expect.throwsT<ArgumentException>
                    (fun () -> queue.Nearest(random 5L [ 3L; 32L ]) |> ignore)
                    "narrower rows"
            }

            for images, inputs, outputs, height, width, kernel, stride, padding in
                [
                    8L, 16L, 16L, 5L, 4L, 3L, 1, 1
                    13L, 48L, 80L, 7L, 6L, 3L, 2, 1
                    9L, 32L, 64L, 6L, 6L, 1L, 2, 0
                    8L, 64L, 32L, 3L, 3L, 3L, 1, 1
                    11L, 16L, 48L, 9L, 8L, 5L, 3, 2
                    8L, 32L, 16L, 4L, 4L, 4L, 1, 0
                    9L, 16L, 16L, 2L, 2L, 3L, 2, 2
                ] do
                test
                    $"convolution of {images} × {inputs} × {height} × {width} to {outputs}, kernel {kernel}, stride {stride}, padding {padding}" {
                    use _scope = torch.NewDisposeScope()

                    let innermost (t: torch.Tensor) =
                        t.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L)

                    let ours (i: torch.Tensor list) =
                        let x, w = innermost i[0], innermost i[1]

                        if Convolution.Serves(x, w) then
                            Convolution.Apply(x, w, stride, padding)
                        else
                            torch.nn.functional.conv2d (x, w, strides = [| stride |], padding = [| padding |])

                    let theirs (i: torch.Tensor list) =
                        torch.nn.functional.conv2d (i[0], i[1], strides = [| stride |], padding = [| padding |])

                    agrees
                        ours
                        theirs
                        [
                            random 1L [ images; inputs; height; width ]
                            random 2L [ outputs; inputs; kernel; kernel ]
                        ]
                }

            test "convolution refuses what it does not serve" {
                use _scope = torch.NewDisposeScope()

                for x, w in
                    [
                        [ 8L; 3L; 8L; 8L ], [ 16L; 3L; 3L; 3L ]
                        [ 7L; 16L; 8L; 8L ], [ 16L; 16L; 3L; 3L ]
                        [ 8L; 16L; 8L; 8L ], [ 16L; 32L; 3L; 3L ]
                        [ 8L; 16L; 8L; 8L ], [ 16L; 16L; 9L; 9L ]
                        [ 8L; 16L; 8L; 8L ], [ 16L; 16L; 3L; 1L ]
                    ] do
                    let innermost (shape: int64 list) =
                        random 1L [ shape[0]; shape[2]; shape[3]; shape[1] ]
                        |> fun t -> t.permute (0L, 3L, 1L, 2L)

                    Expect.throwsT<ArgumentException>
                        (fun () -> Convolution.Apply(innermost x, innermost w, 1, 0) |> ignore)
                        $"{x} {w}"
            }

            test "convolution refuses steps that lead nowhere" {
                use _scope = torch.NewDisposeScope()
                let x = (random 1L [ 8L; 8L; 8L; 16L ]).permute(0L, 3L, 1L, 2L)
                let w = (random 2L [ 16L; 3L; 3L; 16L ]).permute(0L, 3L, 1L, 2L)

                for stride, padding, name in [ 0, 1, "stride"; -1, 1, "stride"; 1, -1, "padding" ] do
                    refused name (fun () -> Convolution.Apply(x, w, stride, padding))
            }

            for n, tokens, heads, depth in
                [
                    1L, 1L, 1, 16L
                    3L, 17L, 2, 32L
                    2L, 37L, 3, 64L
                    1L, 130L, 2, 48L
                    2L, 48L, 1, 16L
                ] do
                for causal in [ false; true ] do
                    test $"attention of {tokens} tokens, {heads} heads of {depth}, causal {causal}" {
                        use _scope = torch.NewDisposeScope()
                        let qkv = random 4L [ n; tokens; 3L * int64 heads * depth ]

                        if PackedAttention.Serves(qkv, heads) then
                            agrees
                                (fun i -> PackedAttention.Apply(i[0], heads, causal))
                                (attention heads causal)
                                [ qkv ]
                    }

            test "attention stays finite where scores are far apart, and NaN stays in its sequence" {
                use _scope = torch.NewDisposeScope()
                let qkv = (random 5L [ 2L; 9L; 96L ]).mul(100.f.ToScalar())

                if PackedAttention.Serves(qkv, 2) then
                    let leaf = qkv.detach().requires_grad_()
                    let y = PackedAttention.Apply(leaf, 2, false)
                    y.sum().backward()
                    Expect.isTrue (y.isfinite().all().item<bool>()) "output"
                    Expect.isTrue (leaf.grad.isfinite().all().item<bool>()) "gradient"
                    near (attention 2 false [ wide qkv ]) y "output"
                    qkv[0L, 3L, 0L] <- torch.tensor nanf
                    let y = PackedAttention.Apply(qkv, 2, false)
                    Expect.isTrue (y[0L].isnan().any().item<bool>()) "seen"
                    Expect.isTrue (y[1L].isfinite().all().item<bool>()) "the other sequence"
            }

            test "attention refuses what it does not serve" {
                use _scope = torch.NewDisposeScope()

                for shape, heads in [ [ 2L; 5L; 90L ], 2; [ 2L; 300L; 96L ], 2; [ 4L; 96L ], 2 ] do
                    let qkv = random 6L shape
                    Expect.isFalse (PackedAttention.Serves(qkv, heads)) $"{shape}"

                    Expect.throwsT<ArgumentException>
                        (fun () -> PackedAttention.Apply(qkv, heads, false) |> ignore)
                        $"{shape}"
            }

            for rows, length, width in [ 1L, 1L, 16L; 70L, 97L, 32L; 130L, 500L, 128L ] do
                test $"queue of {length} for {rows} rows of {width}: loss, gradient and neighbours" {
                    use _scope = torch.NewDisposeScope()

                    let unit (t: torch.Tensor) =
                        torch.nn.functional.normalize (t, 2., 1L)

                    let keys, queue = random 8L [ rows; width ], unit (random 9L [ length; width ])

                    // Exponents of hundreds carry float32's error of their own size.
                    for temperature, part in [ 0.2, 3e-6; 0.02, 2e-5; 0.004, 1e-4 ] do
                        let loss (i: torch.Tensor list) =
                            let same (t: torch.Tensor) = t.``to`` i[0].dtype
                            InfoNce.Queue(i[0], same keys, same queue, temperature)

                        agreesTo part loss loss [ random 7L [ rows; width ] ]

                    use ring = new FeatureQueue(queue)
                    let x = unit (random 7L [ rows; width ])
                    let best = x.matmul(queue.t ()).argmax 1L
                    Expect.equal (doubles (ring.Nearest x)) (doubles (queue.index_select (0L, best))) "neighbours"
                }

            test "queue: at collapse loss and gradient are those of float64, and for rows of zeros too" {
                use _scope = torch.NewDisposeScope()

                let one = torch.nn.functional.normalize (random 8L [ 1L; 32L ], 2., 1L)

                for rows in [ one.expand(20L, 32L).contiguous(); torch.zeros (20L, 32L) ] do
                    let loss (i: torch.Tensor list) =
                        let same (t: torch.Tensor) = t.``to`` i[0].dtype
                        InfoNce.Queue(i[0], same rows, same (one.expand(50L, 32L).contiguous()), 0.1)

                    use leaf = rows.detach().clone().requires_grad_()
                    let value = loss [ leaf ]
                    value.backward ()
                    Expect.isLessThan (abs (value.item<float32>() - float32 (InfoNce.Chance 50))) 1e-5f "chance"
                    Expect.isTrue (leaf.grad.isfinite().all().item<bool>()) "finite"

                    let twin = rows.``to``(torch.float64).detach().requires_grad_()
                    (loss [ twin ]).backward()
                    let scale = twin.grad.abs().max().item<float>()
                    let off = (leaf.grad.``to`` torch.float64 - twin.grad).abs().max().item<float>()
                    Expect.isLessThan off (1e-6 + 1e-5 * scale) "gradient"
            }

            for rows, count, neighbours in [ 1L, 1L, 1L; 70L, 5L, 3L; 129L, 32L, 5L; 300L, 261L, 5L ] do
                test $"colours: {rows} pixels of {count} bins, loss and gradient" {
                    use _scope = torch.NewDisposeScope()
                    let logits, bins, shares, rarity = colours rows count neighbours

                    for weights in [ null; rarity ] do
                        let loss (i: torch.Tensor list) =
                            let same (t: torch.Tensor) =
                                if isNull t then null else t.``to`` i[0].dtype

                            ColourCrossEntropy.Loss(i[0], bins, same shares, same weights)

                        agrees loss loss [ logits ]
                        agrees loss loss [ logits * 40.f + 1000.f ]

                        // As a training step asks: the gradient of the loss itself.
                        let single, double = logits.detach().requires_grad_(), wide logits
                        (loss [ single ]).backward()
                        (loss [ double ]).backward()
                        near double.grad single.grad "gradient of the loss alone"
                }

            test "colours: NaN is seen, and no bin outside of the logits is written to" {
                use _scope = torch.NewDisposeScope()
                let logits, bins, shares, rarity = colours 70L 20L 3L

                for bad in [ -1L; 20L ] do
                    let off = bins.clone ()
                    off[69L, 2L] <- torch.tensor bad

                    if ColourKernel.Serves(logits, off, shares, rarity) then
                        Expect.stringContains
                            (message (fun () -> ColourCrossEntropy.Loss(logits, off, shares, rarity)))
                            $"0 to 19; received {bad}"
                            "bin"

                logits[3L, 17L] <- torch.tensor nanf
                let loss = ColourCrossEntropy.Loss(logits, bins, shares, rarity)
                Expect.isTrue (Single.IsNaN(loss.item<float32>())) "NaN"
            }

            test "results do not depend on the number of threads" {
                use _scope = torch.NewDisposeScope()
                let x, w, b = random 1L [ 205L; 208L ], random 2L [ 96L; 208L ], random 3L [ 96L ]
                let qkv, queue = random 4L [ 5L; 17L; 192L ], random 5L [ 300L; 208L ]
                let _, bins, shares, rarity = colours 205L 208L 5L

                let images, kernel =
                    (random 6L [ 21L; 6L; 6L; 48L ]).permute(0L, 3L, 1L, 2L),
                    (random 7L [ 80L; 3L; 3L; 48L ]).permute(0L, 3L, 1L, 2L)

                let all () =
                    let leaves =
                        [ x; w; b; qkv; images; kernel ]
                        |> List.map (fun t -> t.detach().requires_grad_())

                    let y = MatrixProduct.Linear(leaves[0], leaves[1], leaves[2])

                    let loss =
                        y.square().sum()
                        + InfoNce.Queue(leaves[0], x, queue, 1.)
                        + ColourCrossEntropy.Loss(leaves[0], bins, shares, rarity)
                        + (if PackedAttention.Serves(qkv, 2) then
                               PackedAttention.Apply(leaves[3], 2, false).square().sum()
                           else
                               leaves[3].square().sum())
                        + (if Convolution.Serves(images, kernel) then
                               Convolution.Apply(leaves[4], leaves[5], 2, 1).square().sum()
                           else
                               leaves[4].sum() + leaves[5].sum())

                    loss.backward ()
                    // torch adds up the bias's gradient itself.
                    doubles y, [ for i in [ 0; 1; 3; 4; 5 ] -> doubles leaves[i].grad ]

                Expect.equal (withThreads 2 all) (withThreads 1 all) "two and one"
            }
        ]

module Tests.Core.TrainingOptimiserTests

open System
open System.Text.Json
open Expecto
open SslResearch.Core.Methods
open SslResearch.Core.Training
open Tests.Support
open TorchSharp

/// A network that is nothing but named parameters.
type private Bag(values: (string * torch.Tensor) list) as this =
    inherit torch.nn.Module("bag")

    do
        for name, value in values do
            this.register_parameter (name, new Modules.Parameter(value.clone ()))

let private modules (m: torch.nn.Module) = [ struct ("net", m) ]

let private noTeachers: FlatTeacher list = []

let private read (t: torch.Tensor) =
    use c = t.detach().contiguous()
    c.data<float32>().ToArray()

let private tensorOf (entry: JsonElement) name : torch.Tensor =
    let shape, values = Golden.input name entry
    torch.tensor(Array.map float32 values).reshape(shape)

let private parameter (bag: torch.nn.Module) name =
    bag.named_parameters ()
    |> Seq.find (fun struct (n, _) -> n = name)
    |> fun struct (_, p) -> p :> torch.Tensor

/// Both executors must reproduce every golden step.
let private golden id (options: OptimiserOptions) rate =
    [
        for byTensors in [ false; true ] do
            test $"""{id}{if byTensors then ", by tensors" else ""}""" {
                let e = Golden.entry "optim" id
                use bag = new Bag([ for n in [ "W"; "b" ] -> n, tensorOf e n ])
                use flat = FlatParameters.Create(modules bag)
                use optimiser = new FusedOptimiser(flat, noTeachers, options, Nullable(), byTensors)

                for step in 1..3 do
                    for name in [ "W"; "b" ] do
                        use g = tensorOf e $"g{name}_{step}"
                        use grad = (parameter bag name).grad
                        grad.add_ g |> ignore

                    optimiser.Step(rate, ReadOnlySpan())

                    for name in [ "W"; "b" ] do
                        let expected = Golden.floats (e.GetProperty("expected").GetProperty($"{name}_after_{step}"))

                        for x, y in Array.zip expected (read (parameter bag name)) do
                            Expect.isTrue (Golden.within e false x (float y)) $"{name} after step {step}: {y} for {x}"

                Expect.equal (flat.Gradients.abs().sum().item<float32>()) 0f "gradients are zeroed"
            }
    ]

let private sgd nesterov decayAll =
    SgdOptions(Momentum = 0.9, Nesterov = nesterov, WeightDecay = 0.01, DecayNormAndBias = decayAll)

let private solo exclude clip =
    LarsOptions(0.9, 0.001, 1e-8, clip, not exclude, 0.001, not exclude)

let private lightly nesterov =
    LarsOptions(0.9, 0.001, 1e-8, false, false, 0.001, false, Nesterov = nesterov)

let private goldenSteps =
    testList
        "golden steps"
        [
            yield! golden "sgd.momentum.nesterov_false" (sgd false true) 0.1
            yield! golden "sgd.momentum.nesterov_true" (sgd true true) 0.1
            yield! golden "sgd.momentum.bias_excluded" (sgd false false) 0.1
            yield! golden "adamw" (AdamWOptions(0.9, 0.999, 1e-8, 0.05, true)) 0.001
            yield! golden "adamw.bias_excluded" (AdamWOptions(0.9, 0.999, 1e-8, 0.05, false)) 0.001
            yield! golden "adam.l2" (AdamOptions(0.9, 0.999, 1e-8, 0.05, true)) 0.001
            for exclude in [ false; true ] do
                for clip in [ false; true ] do
                    let text (b: bool) = b.ToString().ToLowerInvariant()
                    yield! golden $"lars.solo.exclude_{text exclude}.clip_{text clip}" (solo exclude clip) 0.3
            yield! golden "lars.lightly.nesterov_false" (lightly false) 0.3
            yield! golden "lars.lightly.nesterov_true" (lightly true) 0.3
            yield!
                golden
                    "lars.fb.filters"
                    (LarsOptions(0.9, 0.001, 0., false, false, 0.001, false, NormOfDecayedGradient = true))
                    0.3

            for byTensors in [ false; true ] do
                test $"""clip_grad, global{if byTensors then ", by tensors" else ""}""" {
                    // With rate 1, no momentum and weights of zero, the weights afterwards are the negated clipped gradient.
                    let e = Golden.entry "optim" "clip_grad"
                    let names = [ "W", "gW_1"; "b", "gb_1" ]
                    use bag = new Bag([ for n, g in names -> n, torch.zeros_like (tensorOf e g) ])
                    use flat = FlatParameters.Create(modules bag)

                    use optimiser =
                        new FusedOptimiser(flat, noTeachers, SgdOptions(0., false, 0., true), Nullable 0.5, byTensors)

                    for n, g in names do
                        use grad = (parameter bag n).grad
                        grad.add_ (tensorOf e g) |> ignore

                    optimiser.Step(1., ReadOnlySpan())

                    for n, _ in names do
                        let expected = Golden.floats (e.GetProperty("expected").GetProperty($"{n}_grad_global"))

                        for x, y in Array.zip expected (read (parameter bag n)) do
                            Expect.isTrue (Golden.within e false x (float -y)) $"{n}: {-y} for {x}"
                }

                test $"""ema.update{if byTensors then ", by tensors" else ""}""" {
                    let e = Golden.entry "optim" "ema.update"

                    let three name = (tensorOf e name).narrow(0, 0, 3)

                    let start () =
                        [ "W", tensorOf e "W"; "bias", three "b" ]

                    use student = new Bag(start ())
                    use teacher = new Bag(start ())
                    use flat = FlatParameters.Create(modules student)

                    let tau step =
                        MovingAverage.Rising(0.996, 1., step, 10L)

                    let average = MovingAverage("teacher", student, teacher, fun c -> tau c.Step)

                    use follower = FlatTeacher.Create(average, flat)

                    use optimiser =
                        new FusedOptimiser(flat, [ follower ], SgdOptions(0., false, 0., true), Nullable(), byTensors)

                    for step in 1..3 do
                        using (torch.no_grad ()) (fun _ ->
                            (parameter student "W").copy_(tensorOf e $"gW_{step}") |> ignore
                            (parameter student "bias").copy_(three $"gb_{step}") |> ignore)

                        let m = tau (int64 step - 1L)

                        Expect.isTrue
                            (Golden.within
                                e
                                true
                                (e.GetProperty("expected").GetProperty($"tau_used_{step}").GetDouble())
                                m)
                            "tau"

                        optimiser.Step(0.1, ReadOnlySpan [| m |])

                        for name in [ "W"; "bias" ] do
                            let expected = Golden.floats (e.GetProperty("expected").GetProperty($"{name}_after_{step}"))

                            for x, y in Array.zip expected (read (parameter teacher name)) do
                                Expect.isTrue (Golden.within e false x (float y)) $"{name} after {step}: {y} for {x}"
                }
        ]

let private schedules =
    testList
        "schedules"
        [
            test "schedule.warmup_cosine.lightly" {
                let e = Golden.entry "optim" "schedule.warmup_cosine.lightly"
                let schedule = RateSchedule(1., 0.3, 0.001, 10L)
                Expect.equal schedule.WarmupSteps 3L "warm-up steps"

                Golden.floats (e.GetProperty("expected").GetProperty("values"))
                |> Array.iteri (fun i x ->
                    Expect.isTrue
                        (Golden.within e true x (schedule.At(int64 i)))
                        $"step {i}: {schedule.At(int64 i)} for {x}")
            }

            test "schedule.cosine.lightly: without warm-up" {
                let e = Golden.entry "optim" "schedule.cosine.lightly"
                let schedule = RateSchedule(0.996, 0., 1., 10L)

                Golden.floats (e.GetProperty("expected").GetProperty("values"))
                |> Array.iteri (fun i x -> Expect.isTrue (Golden.within e true x (schedule.At(int64 i))) $"step {i}")
            }

            test "schedule.ema_tau.solo" {
                let e = Golden.entry "optim" "schedule.ema_tau.solo"

                Golden.floats (e.GetProperty("expected").GetProperty("values"))
                |> Array.iteri (fun i x ->
                    Expect.isTrue (Golden.within e true x (MovingAverage.Rising(0.996, 1., int64 i, 10L))) $"step {i}")
            }

            test "short trainings have finite rates" {
                for total in 0L .. 4L do
                    for fraction in [ 0.; 0.05; 0.5; 1. ] do
                        let schedule = RateSchedule(0.5, fraction, 0., total)

                        for step in 0L .. total do
                            let rate = schedule.At step
                            Expect.isTrue (rate >= 0. && rate <= 0.5) $"{total} steps, {fraction}, step {step}: {rate}"

                Expect.equal (RateSchedule(0.5, 0., 0., 1L).At 0L) 0.5 "a single step runs at the peak"
            }
        ]

/// The update as the papers write it, one element at a time in double; norms by plain loops.
let private twin
    (options: OptimiserOptions)
    (clip: float option)
    rate
    step
    (segments: (bool * float[] * float[] * float[] * float[]) list)
    =
    let norm (x: float[]) = sqrt (Array.sumBy (fun v -> v * v) x)

    let scale =
        match clip with
        | None -> 1.
        | Some c ->
            let total = sqrt (segments |> List.sumBy (fun (_, _, g, _, _) -> norm g ** 2.))
            min 1. (c / (total + 1e-6))

    for plain, w, g, a, b in segments do
        let decay =
            if plain && not options.DecayNormAndBias then
                0.
            else
                options.WeightDecay

        let g = g |> Array.map (fun x -> x * scale)

        match options with
        | :? SgdOptions as o ->
            for i in 0 .. w.Length - 1 do
                let gradient = g[i] + decay * w[i]
                a[i] <- o.Momentum * a[i] + gradient
                w[i] <- w[i] - rate * (if o.Nesterov then gradient + o.Momentum * a[i] else a[i])
        | :? LarsOptions as o ->
            let local =
                if plain && not o.AdaptNormAndBias then
                    1.
                else
                    let l = o.TrustCoefficient * norm w / (norm g + decay * norm w + o.Epsilon)
                    if o.ClipRate then min (l / rate) 1. else l

            for i in 0 .. w.Length - 1 do
                a[i] <- o.Momentum * a[i] + local * (g[i] + decay * w[i])
                w[i] <- w[i] - rate * a[i]
        | :? AdamWOptions as o ->
            for i in 0 .. w.Length - 1 do
                a[i] <- o.Beta1 * a[i] + (1. - o.Beta1) * g[i]
                b[i] <- o.Beta2 * b[i] + (1. - o.Beta2) * g[i] * g[i]
                let m = a[i] / (1. - o.Beta1 ** float step)
                let v = b[i] / (1. - o.Beta2 ** float step)
                w[i] <- w[i] - rate * decay * w[i] - rate * m / (sqrt v + o.Epsilon)
        | _ -> failwith "no twin"

/// Sizes below, at and above a vector, a chunk and a task.
let private sizes =
    [
        [ 1L ]
        [ 17L; 3L ]
        [ 16L ]
        [ 64L; 64L ]
        [ 4097L ]
        [ 300L; 1000L ]
        [ 5L; 3L; 3L; 3L ]
    ]

let private bagOf seed =
    use generator = new torch.Generator(seed)

    new Bag(
        [
            for i, s in List.indexed sizes -> $"p{i}", torch.randn (List.toArray s, generator = generator)
        ]
    )

let private scalarTwins =
    testList
        "scalar twins"
        [
            for name, (options: OptimiserOptions) in
                [
                    "sgd", SgdOptions(0.9, false, 5e-4, false) :> OptimiserOptions
                    "nesterov", SgdOptions(0.9, true, 5e-4, true)
                    "lars", LarsOptions(0.9, 0.02, 1e-8, true, false, 1e-4, false)
                    "adamw", AdamWOptions(0.9, 0.95, 1e-8, 0.05, false)
                ] do
                for clip in [ None; Some 3. ] do
                    for byTensors in [ false; true ] do
                        test
                            $"""{name}, {match clip with
                                         | None -> "no clipping"
                                         | Some c -> $"norm {c}"}, {if byTensors then "tensors" else "simd"}""" {
                            use scope = torch.NewDisposeScope()
                            let bag = bagOf 1UL
                            let teacher = bagOf 1UL
                            let followed = [ for p in bag.parameters () -> read p |> Array.map float ]
                            use flat = FlatParameters.Create(modules bag)
                            use follower = FlatTeacher.Create(MovingAverage("t", bag, teacher, fun _ -> 0.), flat)

                            use optimiser =
                                new FusedOptimiser(
                                    flat,
                                    [ follower ],
                                    options,
                                    clip |> Option.map Nullable |> Option.defaultValue (Nullable()),
                                    byTensors
                                )

                            let segments =
                                [
                                    for p in bag.parameters () ->
                                        let n = int (p.numel ())

                                        p.shape.Length <= 1,
                                        read p |> Array.map float,
                                        Array.zeroCreate n,
                                        Array.zeroCreate n,
                                        Array.zeroCreate n
                                ]

                            use generator = new torch.Generator(2UL)

                            for step in 1..3 do
                                for p, (_, _, g, _, _) in Seq.zip (bag.parameters ()) segments do
                                    let drawn = torch.randn (p.shape, generator = generator)
                                    p.grad.add_ drawn |> ignore
                                    read drawn |> Array.iteri (fun i x -> g[i] <- float x)

                                twin options clip 0.1 step segments

                                for t, (_, w, _, _, _) in List.zip followed segments do
                                    for i in 0 .. t.Length - 1 do
                                        t[i] <- 0.99 * t[i] + 0.01 * w[i]

                                optimiser.Step(0.1, ReadOnlySpan [| 0.99 |])

                            let near expected (got: torch.Tensor) what =
                                for x, y in Array.zip expected (read got) do
                                    Expect.isTrue (Golden.close 2e-5 2e-5 x (float y)) $"{what}: {y} for {x}"

                            for i, (p, (_, w, _, _, _)) in Seq.indexed (Seq.zip (bag.parameters ()) segments) do
                                near w p $"parameter {i}"

                            for i, (p, t) in Seq.indexed (Seq.zip (teacher.parameters ()) followed) do
                                near t p $"teacher {i}"

                            for s in flat.Segments do
                                let padding = flat.Values.narrow (0, s.Offset + s.Count, s.End - s.Offset - s.Count)
                                Expect.equal (padding.abs().sum().item<float32>()) 0f "padding stays 0"
                        }
        ]

/// A small convolutional network, converted to channels_last as the models do it.
let private convolutional () : torch.nn.Module<torch.Tensor, torch.Tensor> =
    torch.manual_seed 5L |> ignore

    let net =
        torch.nn.Sequential(
            torch.nn.Conv2d(3L, 8L, 3L, padding = 1L),
            torch.nn.BatchNorm2d(8L),
            torch.nn.ReLU(),
            torch.nn.Conv2d(8L, 16L, 3L, stride = 2L),
            torch.nn.Flatten(),
            torch.nn.Linear(16L * 9L, 10L)
        )

    use noGrad = torch.no_grad ()

    for p in net.parameters () do
        if p.shape.Length = 4 then
            p.set_ (p.permute(0L, 2L, 3L, 1L).contiguous().permute(0L, 3L, 1L, 2L))
            |> ignore

    net

let private loss (net: torch.nn.Module<torch.Tensor, torch.Tensor>) step =
    use generator = new torch.Generator(uint64 (100 + step))
    net.call(torch.randn ([| 4L; 3L; 8L; 8L |], generator = generator)).square().mean()

let private flatParameters =
    testList
        "flat parameters"
        [
            test "strides, alignment and values are kept; gradients land in the flat buffer" {
                use scope = torch.NewDisposeScope()
                let net = convolutional ()
                let before = [ for p in net.parameters () -> p.stride (), read p ]
                use flat = FlatParameters.Create(modules net)
                let after = [ for p in net.parameters () -> p.stride (), read p ]
                Expect.equal after before "strides and values"
                Expect.exists before (fun (s, _) -> s.Length = 4 && s[1] = 1L) "channels_last weights were there"

                for s in flat.Segments do
                    Expect.equal (s.Offset % 16L) 0L "64-byte aligned"

                (loss net 0).backward()
                flat.CheckViews()
                let grads = [ for p in net.parameters () -> read p.grad ]

                let other = convolutional ()
                (loss other 0).backward()
                Expect.equal grads [ for p in other.parameters () -> read p.grad ] "the gradients themselves"

                Expect.equal
                    [ for s in flat.Segments -> s.IsNormOrBias ]
                    [ for p in net.parameters () -> p.shape.Length <= 1 ]
                    "groups"
            }

            test "a broken view is an error" {
                use scope = torch.NewDisposeScope()
                let net = convolutional ()
                use flat = FlatParameters.Create(modules net)
                (loss net 0).backward()
                net.zero_grad (true)
                (loss net 0).backward()
                Expect.throwsT<InvalidOperationException> (fun () -> flat.CheckViews()) "Module.zero_grad"
            }

            test "frozen and shared parameters" {
                use scope = torch.NewDisposeScope()
                let a = torch.nn.Linear(3L, 3L)
                a.bias.requires_grad <- false
                use flat = FlatParameters.Create [ struct ("a", a :> torch.nn.Module); struct ("b", a) ]
                Expect.equal [ for s in flat.Segments -> s.Name ] [ "a.weight" ] "taken once, frozen left"
                Expect.isNull (flat.Find a.bias) "the frozen one is not in it"
                Expect.throwsT<ArgumentException> (fun () -> FlatParameters.Create [] |> ignore) "nothing to train"
            }

            test "ten steps equal TorchSharp's own optimiser, average and zero_grad bit by bit" {
                use scope = torch.NewDisposeScope()

                for nesterov in [ false; true ] do
                    let ours, theirs = convolutional (), convolutional ()
                    let teacher, followed = convolutional (), convolutional ()
                    use flat = FlatParameters.Create(modules ours)
                    use follower = FlatTeacher.Create(MovingAverage("t", ours, teacher, fun _ -> 0.99), flat)
                    let options = SgdOptions(0.9, nesterov, 5e-4, true)
                    use optimiser = new FusedOptimiser(flat, [ follower ], options, Nullable())

                    use reference =
                        torch.optim.SGD(
                            theirs.parameters (),
                            0.05,
                            momentum = 0.9,
                            weight_decay = 5e-4,
                            nesterov = nesterov
                        )

                    for step in 0..9 do
                        (loss ours step).backward()
                        optimiser.Step(0.05, ReadOnlySpan [| 0.99 |])
                        reference.zero_grad ()
                        (loss theirs step).backward()
                        reference.step () |> ignore
                        use noGrad = torch.no_grad ()

                        for t, s in Seq.zip (followed.parameters ()) (theirs.parameters ()) do
                            t.mul_(0.99f.ToScalar()).add_(s, (1. - 0.99).ToScalar()) |> ignore

                    flat.CheckViews()

                    for a, b in [ ours, theirs; teacher, followed ] do
                        for x, y in Seq.zip (a.parameters ()) (b.parameters ()) do
                            Expect.equal (read x) (read y) "parameters"
            }

            test "thread counts make no difference" {
                let run threads =
                    use scope = torch.NewDisposeScope()
                    let before = torch.get_num_threads ()
                    torch.set_num_threads threads

                    try
                        let bag = bagOf 3UL
                        use flat = FlatParameters.Create(modules bag)

                        use optimiser =
                            new FusedOptimiser(
                                flat,
                                noTeachers,
                                LarsOptions(0.9, 0.02, 1e-8, true, false, 1e-4, false),
                                Nullable 1.
                            )

                        for _ in 1..3 do
                            flat.Gradients.copy_ (flat.Values.cos ()) |> ignore
                            optimiser.Step(0.1, ReadOnlySpan())

                        read flat.Values
                    finally
                        torch.set_num_threads before

                Expect.equal (run 1) (run 4) "1 and 4 threads"
            }
        ]

[<Tests>]
let tests = testList "training optimiser" [ goldenSteps; schedules; scalarTwins; flatParameters ]

module Tests.Core.MultiCropMethodsTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers

/// A change outside autograd.
let private changed (f: unit -> torch.Tensor) =
    use _ = torch.no_grad ()
    f () |> ignore

let private small () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

let private crops images locals =
    MultiCrop(
        torch.rand (2L * images, 3L, 8L, 8L),
        if locals = 0L then
            null
        else
            torch.rand (locals * images, 3L, 6L, 6L)
    )

let private at step = StepContext(0UL, step, 10L, 0)

let private forward (method: ISslMethod<MultiCrop>) views step =
    let context = at step
    method.Forward(views, &context)

let private after (method: ISslMethod<MultiCrop>) step =
    let context = at step
    method.AfterUpdate(&context)

let private trained (method: ISslMethod<MultiCrop>) prefix =
    [
        for struct (name, m) in method.Trained do
            if name = prefix then
                m :?> torch.nn.Module<torch.Tensor, torch.Tensor>
    ]
    |> List.exactlyOne

let private weight (m: torch.nn.Module) name =
    parameters m |> List.find (fst >> (=) name) |> snd

let private normalised (t: torch.Tensor) =
    torch.nn.functional.normalize (t, 2., 1L)

// SwAV

let private swavOptions =
    SwavOptions(0.1, 0.05, 3, MlpProjection([ 8 ], 6, false, true, true, OutputNorm.None), 5, 0., 0, 0.)

let private swav (options: SwavOptions) =
    let method = new Swav(small (), options, torch.CPU)
    method.Initialise 3UL
    method

/// z of all crops, as the method's networks give it in training mode.
let private embeddings (method: Swav) (views: MultiCrop) =
    let features =
        [|
            method.Encoder.call views.Globals

            if not (isNull views.Locals) then
                method.Encoder.call views.Locals
        |]

    normalised (method.Projector.call (torch.cat (features, 0L)))

let private options (freeze: float, queue: int, start: float) =
    SwavOptions(0.1, 0.05, 3, swavOptions.Projector, 5, freeze, queue, start)

let private swavTests =
    [
        test "SwAV: loss, embedding and codes are those of its parts" {
            for locals in [ 0L; 3L ] do
                use scope = torch.NewDisposeScope()
                use method = swav swavOptions
                let views = crops 4L locals
                let output = forward method views 0L
                let z = embeddings method views
                let scores = (trained method "prototypes").call z
                let codes = SwavLoss.Codes(scores.narrow (0, 0L, 8L), null, 0.05, 3)
                same "codes" 1e-5 codes output.Assignment
                same "embedding" 1e-5 (z.narrow (0, 0L, 8L)) output.Embedding
                let expected = scalar (SwavLoss.Loss(scores, codes, views.CropCount, 0.1))
                close "loss" 1e-5 expected (scalar output.Loss)
                Expect.equal (method.Levels 4) (LossLevels(log 5., log 5.)) "levels"
                Expect.equal method.State.Count 0 "no queue"
        }

        test "SwAV: prototypes return to length 1 after an update" {
            use scope = torch.NewDisposeScope()
            use method = swav swavOptions
            let w = weight (trained method "prototypes") "weight"
            forward method (crops 4L 1L) 0L |> ignore

            changed (fun () -> w.add_ ((0.5).ToScalar()))

            after method 0L
            Expect.all (doubles (w.norm (1, p = 2f))) (fun l -> abs (l - 1.) < 1e-6) "lengths"
        }

        test "SwAV: frozen prototypes get no gradient, only at the start" {
            for step, frozen in [ 0L, true; 2L, true; 3L, false; 9L, false ] do
                use scope = torch.NewDisposeScope()
                use method = swav (options (0.3, 0, 0.))
                (forward method (crops 4L 1L) step).Loss.backward()
                Expect.equal (isNull (weight (trained method "prototypes") "weight").grad) frozen $"step {step}"
                Expect.isNotNull (weight (trained method "projector") "0.weight").grad "the projector learns"
        }

        test "SwAV: the queue holds the latest embeddings of each large crop, for any length" {
            for size in [ 3; 4; 7; 8; 20 ] do
                use scope = torch.NewDisposeScope()
                use method = swav (options (0., size, 0.))
                let seen = [| ResizeArray<float[]>(); ResizeArray<float[]>() |]

                for step in 0L .. 6L do
                    let output = forward method (crops 4L 0L) step
                    let rows = doubles output.Embedding |> Array.chunkBySize 6

                    for crop in 0..1 do
                        seen[crop].AddRange(Array.sub rows (4 * crop) 4)

                    after method step
                    let queue = method.State["queue"]
                    Expect.equal queue.shape [| 2L; int64 size; 6L |] "shape"

                    for crop in 0..1 do
                        let kept =
                            doubles (queue.select (0, int64 crop))
                            |> Array.chunkBySize 6
                            |> Array.filter (Array.exists ((<>) 0.))

                        let latest = seen[crop] |> Seq.rev |> Seq.truncate size |> Seq.toArray
                        Expect.equal (Array.sort kept) (Array.sort latest) $"length {size}, step {step}, crop {crop}"
        }

        test "SwAV: the queue takes part once it is full and its start has come" {
            for size, start, first in [ 8, 0., 2L; 8, 0.5, 5L; 10, 0., 3L; 4, 0., 1L ] do
                use scope = torch.NewDisposeScope()
                use method = swav (options (0., size, start))

                for step in 0L .. 6L do
                    let views = crops 4L 0L
                    let queue = method.State["queue"].clone()
                    let output = forward method views step
                    let prototypes = trained method "prototypes"
                    let scores = prototypes.call output.Embedding

                    let queued =
                        if step >= first then
                            prototypes.call (queue.flatten (0L, 1L))
                        else
                            null

                    same $"codes of step {step}" 1e-5 (SwavLoss.Codes(scores, queued, 0.05, 3)) output.Assignment

                    if step = first then
                        let without = SwavLoss.Codes(scores, null, 0.05, 3)

                        Expect.isGreaterThan
                            (scalar ((without.sub output.Assignment).abs().max()))
                            1e-4
                            "the queue makes a difference"

                    after method step
        }

        test "SwAV: impossible options are refused" {
            let refused (o: SwavOptions) =
                use encoder = small ()
                Expect.throwsT<ArgumentException> (fun () -> new Swav(encoder, o, torch.CPU) |> ignore) (string o)

            let projector = NoProjection()
            refused (SwavOptions(0., 0.05, 3, projector, 5, 0., 0, 0.))
            refused (SwavOptions(0.1, 0., 3, projector, 5, 0., 0, 0.))
            refused (SwavOptions(0.1, 0.05, 0, projector, 5, 0., 0, 0.))
            refused (SwavOptions(0.1, 0.05, 3, projector, 1, 0., 0, 0.))
            refused (SwavOptions(0.1, 0.05, 3, projector, 5, 1.1, 0, 0.))
            refused (SwavOptions(0.1, 0.05, 3, projector, 5, 0., -1, 0.))
            refused (SwavOptions(0.1, 0.05, 3, projector, 5, 0., 4, -0.1))
        }
    ]

// DINO

let private dinoOptions centring sharpening warmup freeze =
    DinoOptions(
        DinoHeadOptions(2, 8, 6, 5, true),
        0.1,
        0.04,
        0.07,
        warmup,
        centring,
        sharpening,
        0.9,
        (fun c -> 0.9 + 0.01 * float c.Step),
        freeze
    )

let private dino options =
    let method = new Dino(small (), options, torch.CPU)
    method.Initialise 3UL
    method

/// The teacher's scores of the large crops, in training mode.
let private taught (method: Dino) (views: MultiCrop) =
    use _ = torch.no_grad ()
    let head = method.Teachers[1].Teacher :?> DinoHead
    head.call (method.Encoder.call views.Globals)

let private dinoTests =
    [
        test "DINO: loss, embedding and targets are those of its parts; the centre follows" {
            for locals in [ 0L; 3L ] do
                use scope = torch.NewDisposeScope()
                use method = dino (dinoOptions true true 0. 0.)
                let centre = torch.zeros (1L, 5L)

                for step in 0L .. 2L do
                    let views = crops 4L locals
                    let output = forward method views step
                    let encoder, head = trained method "encoder", trained method "head" :?> DinoHead

                    let features =
                        [|
                            encoder.call views.Globals

                            if locals > 0L then
                                encoder.call views.Locals
                        |]

                    let unit = head.Unit(torch.cat (features, 0L))
                    let t = taught method views
                    let targets = DinoLoss.Targets(t, centre, 0.07)
                    same "targets" 1e-5 targets output.Assignment
                    same "embedding" 1e-5 (unit.narrow (0, 0L, 8L)) output.Embedding

                    let expected = scalar (DinoLoss.Loss(head.Scores(unit, false), targets, views.CropCount, 0.1))

                    close "loss" 1e-4 expected (scalar output.Loss)
                    same "the centre, before the update" 1e-6 centre method.State["centre"]
                    after method step
                    DinoLoss.MoveCentre(centre, t.mean ([| 0L |], keepdim = true), 0.9)
                    same "the centre, after it" 1e-6 centre method.State["centre"]
        }

        test "DINO: the teacher is evaluated, and follows the student with its own momentum" {
            use method = dino (dinoOptions true true 0. 0.)
            Expect.isTrue (Object.ReferenceEquals(method.Encoder, method.Teachers[0].Teacher)) "the evaluated network"

            Expect.isTrue
                (Object.ReferenceEquals(method.Projector, (method.Teachers[1].Teacher :?> DinoHead).Bottleneck))
                "its head"

            let struct (_, student) = method.Trained[0]
            Expect.isTrue (Object.ReferenceEquals(student, method.Teachers[0].Student)) "the student"

            for teacher in method.Teachers do
                Expect.floatClose Accuracy.high (teacher.Momentum.Invoke(at 3L)) 0.93 "momentum"
                Expect.all (parameters teacher.Teacher) (fun (_, p) -> not p.requires_grad) "no gradients"

            use scope = torch.NewDisposeScope()
            let views = crops 4L 2L
            forward method views 0L |> ignore
            let h = method.Encoder.call views.Globals
            Expect.equal (method.Projector.call h).shape [| 8L; 6L |] "the projector's outputs"
        }

        test "DINO: the teacher's batch statistics are its own" {
            use scope = torch.NewDisposeScope()
            use method = dino (dinoOptions true true 0. 0.)
            forward method (crops 4L 2L) 0L |> ignore

            let buffers (m: torch.nn.Module) =
                [ for struct (name, b) in m.named_buffers () -> name, b ]

            for (name, s), (_, t) in List.zip (buffers (trained method "encoder")) (buffers method.Encoder) do
                if name.EndsWith "running_mean" then
                    Expect.notEqual (doubles s) (doubles t) name
        }

        test "DINO: small crops are not what the teacher sees" {
            use scope = torch.NewDisposeScope()
            let views = crops 4L 2L
            let others = MultiCrop(views.Globals, torch.rand_like views.Locals)

            let run views =
                use method = dino (dinoOptions true true 0. 0.)
                let output = forward method views 0L
                doubles output.Assignment, scalar output.Loss

            let (a, x), (b, y) = run views, run others
            Expect.equal a b "targets"
            Expect.notEqual x y "loss"
        }

        test
            "DINO: the teacher's temperature warms up; without sharpening it is the student's; without centring there is no centre" {
            let targets options step temperature =
                use scope = torch.NewDisposeScope()
                use method = dino options
                let views = crops 4L 0L
                let output = forward method views step
                let expected = DinoLoss.Targets(taught method views, null, temperature)
                same $"targets at {temperature}" 1e-5 expected output.Assignment

            targets (dinoOptions true true 0.5 0.) 0L 0.04
            targets (dinoOptions true true 0.5 0.) 2L 0.055
            targets (dinoOptions true true 0.5 0.) 4L 0.07
            targets (dinoOptions true true 0.5 0.) 9L 0.07
            targets (dinoOptions true true 0. 0.) 0L 0.07
            targets (dinoOptions true false 0.5 0.) 0L 0.1
            use method = dino (dinoOptions false true 0. 0.)
            Expect.equal method.State.Count 0 "no centre"

            use scope = torch.NewDisposeScope()

            for step in 0L .. 2L do
                let views = crops 4L 0L
                let output = forward method views step
                same "not centred" 1e-5 (DinoLoss.Targets(taught method views, null, 0.07)) output.Assignment
                after method step

            Expect.equal (method.Levels 4) (LossLevels(log 5., Nullable())) "levels without centring"
            use centred = dino (dinoOptions true true 0. 0.)
            Expect.equal (centred.Levels 4) (LossLevels(log 5., log 5.)) "levels with centring"
        }

        test "DINO: frozen prototypes get no gradient, only at the start" {
            for step, frozen in [ 0L, true; 1L, true; 2L, false ] do
                use scope = torch.NewDisposeScope()
                use method = dino (dinoOptions true true 0. 0.2)
                (forward method (crops 4L 1L) step).Loss.backward()
                let head = trained method "head"
                Expect.equal (isNull (weight head "last_layer.weight_v").grad) frozen $"step {step}"
                Expect.isNotNull (weight head "mlp.0.weight").grad "the head learns"
        }

        test "DINO: impossible options are refused" {
            let refused (temperature: float) (warmup: float) (momentum: float) (freeze: float) =
                let o =
                    DinoOptions(
                        DinoHeadOptions(2, 8, 6, 5, true),
                        temperature,
                        0.04,
                        0.07,
                        warmup,
                        true,
                        true,
                        momentum,
                        (fun _ -> 0.9),
                        freeze
                    )

                use encoder = small ()
                Expect.throwsT<ArgumentException> (fun () -> new Dino(encoder, o, torch.CPU) |> ignore) (string o)

            refused 0. 0. 0.9 0.
            refused 0.1 1.1 0.9 0.
            refused 0.1 0. -0.1 0.
            refused 0.1 0. 0.9 nan
        }
    ]

[<Tests>]
let tests = testList "multi-crop methods" [ yield! swavTests; yield! dinoTests ]

module Tests.Core.IbotMethodTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers
open Tests.Support.Refusals

/// Images of 8 pixels in 16 patches.
let private vit registers pool dropPath =
    new VisionTransformer(
        VitOptions(
            struct (8, 8),
            2,
            12,
            2,
            3,
            2.,
            registers,
            PositionEncoding.Learned,
            pool,
            Nullable(),
            dropPath,
            true,
            1e-6,
            3
        )
    )

type private Choice =
    {
        Registers: int
        Pool: TokenPool
        DropPath: float
        PatchPrototypes: int option
        Centring: TeacherCentring
        Warmup: float
        Weights: float * float * float
        Mean: PatchMean
        Freeze: float
    }

let private usual =
    {
        Registers = 0
        Pool = TokenPool.Cls
        DropPath = 0.
        PatchPrototypes = None
        Centring = MovingCentre(0.9, false)
        Warmup = 0.
        Weights = (1., 1., 0.)
        Mean = PatchMean.Crops
        Freeze = 0.
    }

let private head = DinoHeadOptions(2, 8, 6, 5, false)

let private options (c: Choice) =
    let ofCrops, ofPatches, koLeo = c.Weights

    let own =
        match c.PatchPrototypes with
        | Some prototypes -> DinoHeadOptions(2, 10, 7, prototypes, false)
        | None -> null

    IbotOptions(
        head,
        own,
        0.1,
        0.04,
        0.07,
        0.06,
        c.Warmup,
        c.Centring,
        ofCrops,
        ofPatches,
        c.Mean,
        koLeo,
        (fun s -> 0.9 + 0.01 * float s.Step),
        c.Freeze
    )

let private fresh (c: Choice) =
    let method = new Ibot(vit c.Registers c.Pool c.DropPath, options c, torch.CPU)
    method.Initialise 3UL
    method

/// Larger weights than at the start, other ones in the teacher, so that nothing hides behind the residual path or is taken for another.
let private lively (c: Choice) =
    let method = fresh c
    use _ = torch.no_grad ()

    let enlarge (factor: float) (m: torch.nn.Module) =
        for _, p in parameters m do
            if p.dim () > 1L then
                p.mul_ (factor.ToScalar()) |> ignore

                p.add_ (
                    torch
                        .arange(p.numel (), dtype = torch.float32)
                        .mul(factor.ToScalar())
                        .sin_()
                        .mul_((0.1).ToScalar())
                        .view_as
                        p
                )
                |> ignore

    for struct (_, m) in method.Trained do
        enlarge 8. m

    for t in method.Teachers do
        enlarge 5. t.Teacher

    method

/// Row r hides the r-th number of patches, strewn about.
let private hiding (counts: int list) =
    let rows =
        [|
            for r, count in List.indexed counts do
                let hidden = Set.ofList [ for i in 0 .. count - 1 -> (7 * i + 3 * r) % 16 ]

                for p in 0..15 do
                    if hidden.Contains p then 1f else 0f
        |]

    torch.tensor(rows, dtype = torch.float32).reshape(int64 counts.Length, 16L)

let private some = [ 0; 5; 1; 3; 2; 0 ]

let private crops locals counts =
    let images = int64 (List.length counts) / 2L

    MaskedCrops(
        torch.rand (2L * images, 3L, 8L, 8L),
        (if locals = 0L then
             null
         else
             torch.rand (locals * images, 3L, 4L, 4L)),
        hiding counts,
        max 1 (List.max counts)
    )

let private at step = StepContext(0UL, step, 10L, 0)

let private forward (method: Ibot) views step =
    let context = at step
    method.Forward(views, &context)

let private after (method: Ibot) step =
    let context = at step
    method.AfterUpdate(&context)

let private trained (method: Ibot) prefix =
    [
        for struct (name, m) in method.Trained do
            if name = prefix then
                m
    ]
    |> List.tryExactlyOne

let private taught (method: Ibot) name =
    [
        for t in method.Teachers do
            if t.Name = name then
                t.Teacher
    ]
    |> List.tryExactlyOne

/// Features and patch tokens.
let private split (encoder: VisionTransformer) (tokens: torch.Tensor) =
    let patches = tokens.narrow (1, int64 (1 + encoder.Options.Registers), 16L)

    let pooled =
        if encoder.Options.Pool = TokenPool.Cls then
            tokens.narrow(1, 0L, 1L).squeeze 1L
        else
            patches.mean [| 1L |]

    pooled, patches

/// What the papers say, on all patches of all crops: loss, targets of the crops, and the means of the teacher's scores.
let private naive
    (c: Choice)
    (method: Ibot)
    (views: MaskedCrops)
    (centre: torch.Tensor, patchCentre: torch.Tensor)
    (temperature, patchTemperature)
    =
    let student = (trained method "encoder").Value :?> VisionTransformer
    let heads = (trained method "head").Value :?> DinoHead
    let teacherHead = (taught method "head").Value :?> DinoHead

    let patchHead, teacherPatchHead =
        match trained method "patch_head", taught method "patch_head" with
        | Some s, Some t -> s :?> DinoHead, t :?> DinoHead
        | _ -> heads, teacherHead

    let onPatches (h: DinoHead) (patches: torch.Tensor) =
        h.call(patches.reshape (-1L, 12L)).view(patches.shape[0], 16L, -1L)

    let teacherScores, teacherPatches =
        use _ = torch.no_grad ()
        let teacher = method.Encoder :?> VisionTransformer
        let pooled, patches = split teacher (teacher.Tokens views.Globals)
        teacherHead.call pooled, onPatches teacherPatchHead patches

    let targets, patchTargets =
        match c.Centring with
        | :? SinkhornCentring as s ->
            Sinkhorn.Codes(teacherScores, temperature, s.Iterations),
            IbotLoss.Codes(teacherPatches, views.Masks, patchTemperature, s.Iterations)
        | _ ->
            DinoLoss.Targets(teacherScores, centre, temperature),
            DinoLoss.Targets(teacherPatches.flatten (0L, 1L), patchCentre, patchTemperature).view_as teacherPatches

    let token = parameters (trained method "mask").Value |> List.exactlyOne |> snd
    let hidden = views.Masks.unsqueeze(2L).gt((0.5).ToScalar())

    let embedded = torch.where (hidden, token, student.Project views.Globals)
    let tokens = embedded.add (student.Positions views.Globals)

    let pooled, patches = split student (student.Norm(student.Blocks(student.Sequence tokens)))

    let all =
        if isNull views.Locals then
            pooled
        else
            torch.cat ([| pooled; student.call views.Locals |], 0L)

    let ofCrops, ofPatches, koLeo = c.Weights
    let n = views.Count

    let parts =
        [
            ofCrops, scalar (DinoLoss.Loss(heads.call all, targets, views.Crops.CropCount, 0.1))
            ofPatches, scalar (IbotLoss.Loss(onPatches patchHead patches, patchTargets, views.Masks, 0.1, c.Mean))
            koLeo, scalar (KoLeoLoss.Loss(pooled.narrow (0, 0L, n)))
            koLeo, scalar (KoLeoLoss.Loss(pooled.narrow (0, n, n)))
        ]

    let ofHidden =
        match c.Centring with
        | :? MovingCentre as m when m.HiddenOnly -> views.Masks
        | _ -> null

    parts
    |> List.sumBy (fun (weight, value) -> if weight = 0. then 0. else weight * value),
    targets,
    heads.Unit(pooled),
    (teacherScores.mean ([| 0L |], keepdim = true), IbotLoss.MeanScores(teacherPatches, ofHidden))

let private choices =
    [
        "iBOT", usual
        "masked crops",
        { usual with
            Mean = PatchMean.MaskedCrops
        }
        "a head for patches, centre of hidden ones",
        { usual with
            PatchPrototypes = Some 9
            Centring = MovingCentre(0.9, true)
        }
        "mean of patches, registers",
        { usual with
            Pool = TokenPool.Mean
            Registers = 2
            Weights = (0.3, 2., 0.)
        }
        "DINOv2",
        { usual with
            PatchPrototypes = Some 9
            Registers = 1
            Centring = SinkhornCentring 3
            Weights = (1., 1., 0.1)
        }
        "Sinkhorn, one head",
        { usual with
            Centring = SinkhornCentring 1
            Mean = PatchMean.MaskedCrops
        }
    ]

[<Tests>]
let tests =
    testList
        "ibot method"
        [
            for name, choice in choices do
                test $"{name}: loss, embedding, targets and centres are those of the papers on all patches" {
                    for locals in [ 0L; 2L ] do
                        use scope = torch.NewDisposeScope()
                        use _ = torch.manual_seed 5L
                        use method = lively choice
                        let patchPrototypes = int64 (defaultArg choice.PatchPrototypes 5)
                        let centre, patchCentre = torch.zeros (1L, 5L), torch.zeros (1L, patchPrototypes)

                        for step in 0L .. 2L do
                            let views = crops locals some

                            let expected, targets, unit, (mean, patchMean) =
                                naive choice method views (centre, patchCentre) (0.07, 0.06)

                            let output = forward method views step
                            close "loss" (1e-4 * max 1. (abs expected)) expected (scalar output.Loss)
                            same "targets" 1e-4 targets output.Assignment
                            same "embedding" 1e-4 unit output.Embedding

                            if choice.Centring :? MovingCentre then
                                same "centre, before the update" 1e-5 centre method.State["centre"]

                            after method step

                            if choice.Centring :? MovingCentre then
                                DinoLoss.MoveCentre(centre, mean, 0.9)
                                DinoLoss.MoveCentre(patchCentre, patchMean, 0.9)
                                same "centre" 1e-5 centre method.State["centre"]
                                same "patches' centre" 1e-5 patchCentre method.State["patch_centre"]
                            else
                                Expect.equal method.State.Count 0 "Sinkhorn has no state"
                }

            test "where nothing is hidden it is DINO, and the mask's vector gets no gradient" {
                use scope = torch.NewDisposeScope()
                use ibot = fresh usual

                use dino =
                    new Dino(
                        vit 0 TokenPool.Cls 0.,
                        DinoOptions(head, 0.1, 0.04, 0.07, 0., true, true, 0.9, (fun _ -> 0.9), 0.),
                        torch.CPU
                    )

                dino.Initialise 3UL
                let views = crops 2L [ 0; 0; 0; 0 ]
                let output = forward ibot views 0L
                let context = at 0L
                close "loss" 1e-5 (scalar (dino.Forward(views.Crops, &context).Loss)) (scalar output.Loss)
                output.Loss.backward ()

                for _, p in parameters (trained ibot "mask").Value do
                    Expect.all (doubles p.grad) ((=) 0.) "gradient"
            }

            test "no gradient comes from pixels of hidden patches, and the teacher sees them" {
                use scope = torch.NewDisposeScope()
                use method = lively usual
                let views = crops 0L some
                let globals = views.Globals.requires_grad_ ()
                let output = forward method views 0L
                output.Loss.backward ()

                let byPatch = globals.grad.abs().sum([| 1L |]).view(6L, 4L, 2L, 4L, 2L).sum([| 2L; 4L |]).view(6L, 16L)

                Array.iter2
                    (fun hidden gradient -> Expect.equal (gradient > 0.) (hidden = 0.) "gradient")
                    (doubles views.Masks)
                    (doubles byPatch)

                // Other pixels behind the masks: the teacher says something else of the crops.
                let blank =
                    views.Masks.view(6L, 1L, 4L, 1L, 4L, 1L).expand(6L, 3L, 4L, 2L, 4L, 2L).reshape(6L, 3L, 8L, 8L)

                let other = MaskedCrops(globals.detach().add blank, null, views.Masks, views.Most)
                Expect.notEqual (doubles (forward method other 0L).Assignment) (doubles output.Assignment) "teacher"
            }

            test "masks are the student's alone: the teacher's word does not depend on them" {
                use scope = torch.NewDisposeScope()

                let centrings: TeacherCentring list = [ MovingCentre(0.9, false); SinkhornCentring 3 ]

                for centring in centrings do
                    use method = lively { usual with Centring = centring }
                    let views = crops 1L some
                    let others = MaskedCrops(views.Globals, views.Locals, hiding [ 3; 1; 0; 5; 0; 4 ], 5)
                    let a, b = forward method views 0L, forward method others 0L
                    Expect.equal (doubles a.Assignment) (doubles b.Assignment) "targets"
                    Expect.notEqual (scalar a.Loss) (scalar b.Loss) "loss"
            }

            test "more room for hidden patches than there are makes no difference" {
                use scope = torch.NewDisposeScope()

                for _, choice in choices do
                    use method = lively choice
                    let views = crops 1L some
                    let roomy = MaskedCrops(views.Globals, views.Locals, views.Masks, 16)
                    let expected = scalar (forward method views 0L).Loss
                    close "loss" (1e-5 * max 1. (abs expected)) expected (scalar (forward method roomy 0L).Loss)
            }

            test
                "patches are compared within one crop: other second crops do not change what the first one's patches cost" {
                use scope = torch.NewDisposeScope()

                let choice =
                    { usual with
                        Weights = (0., 1., 0.)
                        Centring = MovingCentre(1., false)
                    }

                use method = lively choice
                let views = crops 0L [ 3; 2; 4; 0; 0; 0 ] // only first crops hide patches

                let second = torch.cat ([| views.Globals.narrow (0, 0L, 3L); torch.rand (3L, 3L, 8L, 8L) |], 0L)

                let others = MaskedCrops(second, null, views.Masks, views.Most)
                close "loss" 1e-6 (scalar (forward method views 0L).Loss) (scalar (forward method others 0L).Loss)
            }

            test "KoLeo looks at one large crop at a time: equal crops of an image are no neighbours" {
                use scope = torch.NewDisposeScope()
                use method = lively { usual with Weights = (0., 0., 1.) }
                let first = torch.rand (3L, 3L, 8L, 8L)
                let views = MaskedCrops(torch.cat ([| first; first |], 0L), null, hiding [ 0; 0; 0; 0; 0; 0 ], 1)
                let student = (trained method "encoder").Value :?> VisionTransformer
                let expected = 2. * scalar (KoLeoLoss.Loss(student.call first))
                close "loss" 1e-4 expected (scalar (forward method views 0L).Loss)
                Expect.isLessThan expected 20. "neighbours at no distance would cost twice 17"
            }

            test "both temperatures of the teacher warm up" {
                for step, temperature, patchTemperature in
                    [ 0L, 0.04, 0.04; 2L, 0.055, 0.05; 4L, 0.07, 0.06; 9L, 0.07, 0.06 ] do
                    use scope = torch.NewDisposeScope()
                    let choice = { usual with Warmup = 0.5 }
                    use method = lively choice
                    let views = crops 1L some
                    let zero = torch.zeros (1L, 5L)

                    let expected, targets, _, _ = naive choice method views (zero, zero) (temperature, patchTemperature)

                    let output = forward method views step
                    same "targets" 1e-4 targets output.Assignment
                    close "loss" (1e-4 * expected) expected (scalar output.Loss)
            }

            test "the teacher is evaluated, follows with its own momentum, and runs without stochastic depth" {
                use scope = torch.NewDisposeScope()

                use method =
                    lively
                        { usual with
                            DropPath = 0.9
                            PatchPrototypes = Some 9
                        }

                Expect.isTrue
                    (Object.ReferenceEquals(method.Encoder, method.Teachers[0].Teacher))
                    "the evaluated network"

                Expect.equal [ for t in method.Teachers -> t.Name ] [ "encoder"; "head"; "patch_head" ] "teachers"

                for teacher in method.Teachers do
                    Expect.floatClose Accuracy.high (teacher.Momentum.Invoke(at 3L)) 0.93 "momentum"
                    Expect.all (parameters teacher.Teacher) (fun (_, p) -> not p.requires_grad) "no gradients"

                let struct (_, encoder) = method.Trained[0]
                encoder.train ()
                let views = crops 0L some
                let a, b = forward method views 0L, forward method views 0L
                Expect.equal (doubles a.Assignment) (doubles b.Assignment) "the teacher's word"
                Expect.notEqual (scalar a.Loss) (scalar b.Loss) "the student drops branches"
                Expect.equal (method.Projector.call (method.Encoder.call views.Globals)).shape [| 6L; 6L |] "projector"
            }

            test "frozen prototypes get no gradient, only at the start" {
                for step, frozen in [ 0L, true; 1L, true; 2L, false ] do
                    use scope = torch.NewDisposeScope()

                    use method =
                        fresh
                            { usual with
                                Freeze = 0.2
                                PatchPrototypes = Some 9
                            }

                    (forward method (crops 1L some) step).Loss.backward()

                    for name in [ "head"; "patch_head" ] do
                        let weights = parameters (trained method name).Value

                        let grad part =
                            (weights |> List.find (fst >> (=) part) |> snd).grad

                        Expect.equal (isNull (grad "last_layer.weight_v")) frozen $"{name}, step {step}"
                        Expect.isNotNull (grad "mlp.0.weight") "the head learns"
            }

            test "levels: ln K where it is one, none where masks or KoLeo decide" {
                let levels choice =
                    use method = fresh choice
                    method.Levels 4

                let counted =
                    { usual with
                        Mean = PatchMean.MaskedCrops
                    }

                Expect.equal (levels usual) (LossLevels(Nullable(), Nullable())) "the authors' mean"
                Expect.equal (levels counted) (LossLevels(2. * log 5., 2. * log 5.)) "both"

                Expect.equal
                    (levels
                        { counted with
                            Weights = (0.5, 2., 0.)
                            PatchPrototypes = Some 9
                        })
                    (LossLevels(0.5 * log 5. + 2. * log 9., 0.5 * log 5. + 2. * log 9.))
                    "weighted"

                Expect.equal
                    (levels { counted with Weights = (1., 1., 0.1) })
                    (LossLevels(Nullable(), Nullable()))
                    "KoLeo"

                Expect.equal
                    (levels
                        { counted with
                            Centring = MovingCentre(1., false)
                        })
                    (LossLevels(2. * log 5., Nullable()))
                    "without centring it may end anywhere"
            }

            test "equal images cost ln K once the centre is there: the collapsed level" {
                use scope = torch.NewDisposeScope()

                let centrings: TeacherCentring list =
                    [ MovingCentre(0., false); MovingCentre(0., true); SinkhornCentring 3 ]

                for centring in centrings do
                    use method =
                        lively
                            { usual with
                                Centring = centring
                                Mean = PatchMean.MaskedCrops
                            }

                    // Images, tokens and positions all equal: no patch differs from another, hidden or not.
                    use _ = torch.no_grad ()

                    for m in
                        [
                            (trained method "encoder").Value
                            method.Encoder :> torch.nn.Module
                            (trained method "mask").Value
                        ] do
                        for name, p in parameters m do
                            if name = "pos_embed" || name = "mask_token" || name = "patch_embed.proj.weight" then
                                p.zero_ () |> ignore
                            elif name = "patch_embed.proj.bias" then
                                p.zero_ () |> ignore

                    let views = MaskedCrops(torch.ones (4L, 3L, 8L, 8L), null, hiding [ 3; 2; 0; 1 ], 3)
                    forward method views 0L |> ignore
                    after method 0L
                    let loss = scalar (forward method views 1L).Loss
                    let collapsed = (method.Levels 2).Collapsed.Value
                    // The teacher's distributions are uniform; the student, which follows, then costs no less than ln K each.
                    same
                        "uniform"
                        1e-4
                        (torch.full ([| 4L; 5L |], (0.2).ToScalar()))
                        (forward method views 1L).Assignment

                    Expect.isGreaterThan loss (collapsed - 1e-3) "loss"
            }

            test "what cannot work is refused with a clear message" {
                use scope = torch.NewDisposeScope()

                let choice (c: Choice) =
                    use encoder = vit 0 TokenPool.Cls 0.
                    new Ibot(encoder, options c, torch.CPU) :> obj

                refused "takes a vision transformer; received a ResNet" (fun () ->
                    use encoder = resnet ResidualBlock.Basic [ 1 ] 4 Stem.Cifar
                    new Ibot(encoder, options usual, torch.CPU))

                refused "weight of patches must be 0 or more; received -1" (fun () ->
                    choice { usual with Weights = (1., -1., 0.) })

                refused "momentum of the centre" (fun () ->
                    choice
                        { usual with
                            Centring = MovingCentre(1.1, false)
                        })

                refused "Sinkhorn iterations" (fun () ->
                    choice
                        { usual with
                            Centring = SinkhornCentring 0
                        })

                refused "warm-up" (fun () -> choice { usual with Warmup = 2. })
                refused "frozen prototypes" (fun () -> choice { usual with Freeze = nan })
                use method = fresh usual
                let globals = torch.rand (4L, 3L, 8L, 8L)

                refused
                    "The masks are for 9 patches of a crop, but the encoder cuts crops of 8×8 pixels into 16 of 2"
                    (fun () -> box (forward method (MaskedCrops(globals, null, torch.zeros (4L, 9L), 3)) 0L))

                use spread = fresh { usual with Weights = (1., 1., 0.1) }
                let single = MaskedCrops(globals.narrow (0, 0L, 2L), null, torch.zeros (2L, 16L), 3)

                refused "needs at least 2; received 1. Enlarge the batch" (fun () -> box (forward spread single 0L))

                Expect.isTrue
                    (Double.IsFinite(scalar (forward method single 0L).Loss))
                    "without KoLeo one image will do"
            }
        ]

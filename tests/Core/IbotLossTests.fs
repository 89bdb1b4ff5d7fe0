module Tests.Core.IbotLossTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

let private cube seed (shape: int64 list) =
    GoldenLoss.arbitrary seed shape ||> tensor

let private masks (rows: float list list) =
    tensor [| int64 rows.Length; int64 rows.Head.Length |] (rows |> List.concat |> Array.ofList)

/// (crop, patch, K).
let private nested (t: torch.Tensor) =
    let width, patches = int t.shape[2], int t.shape[1]
    doubles t |> Array.chunkBySize width |> Array.chunkBySize patches

/// The paper's section 3.1, crop by crop and patch by patch; the mean over hidden patches of each crop, as the authors' code weighs it.
let private naive (student: float[][][]) (targets: float[][][]) (mask: float[][]) temperature mean =
    let crops =
        [
            for b in 0 .. student.Length - 1 do
                let hidden =
                    [
                        for p in 0 .. mask[b].Length - 1 do
                            if mask[b][p] = 1. then
                                let t, q = targets[b][p], softmax temperature (student[b][p])
                                -(Array.fold2 (fun s t q -> s + t * log q) 0. t q)
                    ]

                if hidden.IsEmpty then None else Some(List.average hidden)
        ]

    match mean with
    | PatchMean.Crops -> crops |> List.averageBy (Option.defaultValue 0.)
    | _ ->
        match List.choose id crops with
        | [] -> 0.
        | masked -> List.average masked

let private means = [ PatchMean.Crops; PatchMean.MaskedCrops ]

let private goldenMask (c: GoldenLoss.Case) =
    let rows =
        [|
            for row in c.Entry.GetProperty("params").GetProperty("mask").EnumerateArray() -> Golden.floats row
        |]

    c.Constant([| int64 rows.Length; int64 rows[0].Length |], Array.concat rows)

/// The two steps of the golden entries: losses, and the centre between them.
let private twoSteps hiddenOnly (c: GoldenLoss.Case) =
    let mask = goldenMask c
    let centre = torch.zeros (1L, 5L, dtype = c.DType)

    let step (teacher: torch.Tensor) =
        let t = teacher.detach ()
        let targets = DinoLoss.Targets(t.flatten (0L, 1L), centre, c.Number "teacher_temp").view_as t

        let loss = IbotLoss.Loss(c.Input "s", targets, mask, c.Number "student_temp", PatchMean.Crops)

        let mean = IbotLoss.MeanScores(t, (if hiddenOnly then mask else null))
        DinoLoss.MoveCentre(centre, mean, c.Number "center_momentum")
        loss, centre.clone ()

    let first, between = step (c.Input "t")
    let second, _ = step (c.Input "t2")
    first, between, second

let private variants = [ "ibot.dinov2.2steps", false; "ibot.lightly.2steps", true ]

[<Tests>]
let tests =
    testList
        "ibot loss"
        [
            for id, hiddenOnly in variants do
                yield!
                    GoldenLoss.tests id (fun c ->
                        let first, _, second = twoSteps hiddenOnly c
                        first.add second)

                test $"golden {id}: each step and the centre between them" {
                    GoldenLoss.read id (fun c (expected: JsonElement) ->
                        let first, between, second = twoSteps hiddenOnly c

                        let stated (name: string) = expected.GetProperty(name).GetDouble()
                        GoldenLoss.agrees c "value" (stated "step1_value") (scalar first)
                        GoldenLoss.agrees c "value" (stated "step2_value") (scalar second)

                        Array.iter2
                            (GoldenLoss.agrees c "centre")
                            (Golden.floats (expected.GetProperty "center_after_step1"))
                            (doubles between))
                }

            test "the loss equals loops from the paper" {
                for crops in [ 1; 4 ] do
                    for patches in [ 1; 6 ] do
                        for width in [ 2; 5 ] do
                            for mean in means do
                                use scope = torch.NewDisposeScope()
                                let student = cube 1. [ int64 crops; int64 patches; int64 width ]

                                let targets =
                                    torch.nn.functional.softmax (
                                        cube 2. [ int64 crops; int64 patches; int64 width ],
                                        2L
                                    )

                                // The first crop hides nothing where there are several.
                                let mask =
                                    masks
                                        [
                                            for b in 0 .. crops - 1 ->
                                                [
                                                    for p in 0 .. patches - 1 ->
                                                        if (b > 0 || crops = 1) && (b + p) % 2 = 0 then 1. else 0.
                                                ]
                                        ]

                                let rows = doubles mask |> Array.chunkBySize patches
                                let expected = naive (nested student) (nested targets) rows 0.3 mean
                                let got = scalar (IbotLoss.Loss(student, targets, mask, 0.3, mean))

                                Expect.isTrue
                                    (Golden.close 1e-10 1e-12 expected got)
                                    $"{crops} crops, {patches} patches, {mean}: {expected} against {got}"
            }

            test "the gradient equals finite differences and is 0 at visible patches; none reaches targets" {
                let mask = [ [ 1.; 0.; 1. ]; [ 0.; 0.; 0. ]; [ 0.; 1.; 0. ] ]

                for mean in means do
                    GoldenLoss.finiteDifferences [ GoldenLoss.arbitrary 3. [ 3L; 3L; 4L ] ] (fun t ->
                        let targets = torch.nn.functional.softmax (cube 5. [ 3L; 3L; 4L ], 2L)
                        IbotLoss.Loss(t.Head, targets, masks mask, 0.2, mean))

                    use scope = torch.NewDisposeScope()
                    let student = (cube 3. [ 3L; 3L; 4L ]).requires_grad_()
                    let teacher = (cube 5. [ 3L; 3L; 4L ]).requires_grad_()
                    let targets = torch.nn.functional.softmax (teacher, 2L)
                    IbotLoss.Loss(student, targets, masks mask, 0.2, mean).backward()
                    Expect.isNull teacher.grad "teacher"

                    let gradients = nested student.grad

                    for b in 0..2 do
                        for p in 0..2 do
                            let size = gradients[b][p] |> Array.sumBy abs
                            Expect.equal (size > 0.) (mask[b][p] = 1.) $"crop {b}, patch {p}"
            }

            test "each crop counts the same however many patches it hides" {
                use scope = torch.NewDisposeScope()
                let student = (cube 1. [ 2L; 4L; 3L ]).requires_grad_()
                let targets = torch.nn.functional.softmax (cube 2. [ 2L; 4L; 3L ], 2L)
                let mask = masks [ [ 1.; 0.; 0.; 0. ]; [ 1.; 1.; 1.; 1. ] ]
                let total = IbotLoss.Loss(student, targets, mask, 1., PatchMean.Crops)

                let alone (b: int64) =
                    IbotLoss.Loss(
                        student.narrow (0, b, 1L),
                        targets.narrow (0, b, 1L),
                        mask.narrow (0, b, 1L),
                        1.,
                        PatchMean.Crops
                    )

                Expect.floatClose Accuracy.high (scalar total) ((scalar (alone 0L) + scalar (alone 1L)) / 2.) "mean"
            }

            test "crops that hide nothing halve the authors' mean, and leave the other one as it is" {
                use scope = torch.NewDisposeScope()
                let student = cube 1. [ 4L; 4L; 3L ]
                let targets = torch.nn.functional.softmax (cube 2. [ 4L; 4L; 3L ], 2L)
                let some, none = [ 1.; 0.; 1.; 0. ], [ 0.; 0.; 0.; 0. ]
                let half = masks [ some; none; some; none ]

                let value mean =
                    scalar (IbotLoss.Loss(student, targets, half, 0.5, mean))

                Expect.floatClose Accuracy.high (2. * value PatchMean.Crops) (value PatchMean.MaskedCrops) "half"

                for mean in means do
                    let nothing = masks [ none; none; none; none ]
                    Expect.equal (scalar (IbotLoss.Loss(student, targets, nothing, 0.5, mean))) 0. "nothing hidden"
            }

            test "the order of patches and crops makes no difference; some of the patches are as good as all" {
                use scope = torch.NewDisposeScope()
                let student = cube 1. [ 3L; 5L; 4L ]
                let targets = torch.nn.functional.softmax (cube 2. [ 3L; 5L; 4L ], 2L)
                let mask = masks [ [ 0.; 1.; 0.; 1.; 0. ]; [ 1.; 0.; 0.; 0.; 0. ]; [ 0.; 0.; 0.; 0.; 0. ] ]

                for mean in means do
                    let value (s: torch.Tensor) (t: torch.Tensor) (m: torch.Tensor) =
                        scalar (IbotLoss.Loss(s, t, m, 0.5, mean))

                    let expected = value student targets mask

                    let close what got =
                        Expect.floatClose Accuracy.high got expected what

                    for dim in [ 0L; 1L ] do
                        let turn (t: torch.Tensor) = t.flip [| dim |]
                        close $"turned round along {dim}" (value (turn student) (turn targets) (turn mask))

                    let struct (weights, place) = mask.topk (2, 1)

                    let chosen (t: torch.Tensor) =
                        t.gather (1L, place.unsqueeze(2L).expand(3L, 2L, 4L))

                    close "two patches of each crop" (value (chosen student) (chosen targets) weights)
            }

            test "equal scores cost ln K at hidden patches whatever the teacher says, with finite gradients" {
                let mask = [ [ 1.; 0.; 1. ]; [ 0.; 1.; 0. ] ]

                for fill in [ 0.; 1. ] do
                    for mean in means do
                        let value =
                            GoldenLoss.atCollapse fill [ [| 2L; 3L; 6L |] ] (fun t ->
                                let student = t.Head
                                let like (x: torch.Tensor) = x.``to`` student.dtype
                                let targets = torch.nn.functional.softmax (cube 5. [ 2L; 3L; 6L ], 2L) |> like
                                IbotLoss.Loss(student, targets, like (masks mask), 0.1, mean))

                        Expect.floatClose Accuracy.medium value (log 6.) $"all {fill}"

                Expect.floatClose Accuracy.high (IbotLoss.Chance 6) (log 6.) "the stated chance level"
            }

            test "a mean of scores: over all patches, or over hidden ones" {
                use scope = torch.NewDisposeScope()
                let teacher = cube 1. [ 2L; 3L; 4L ]
                let mask = masks [ [ 1.; 0.; 1. ]; [ 0.; 1.; 0. ] ]
                let rows = nested teacher

                let mean (chosen: float[] list) =
                    Array.init 4 (fun k -> chosen |> List.averageBy (fun row -> row[k]))

                let equal what (expected: float[]) (got: torch.Tensor) =
                    Expect.equal got.shape [| 1L; 4L |] "shape"
                    Array.iter2 (fun a b -> Expect.floatClose Accuracy.high b a what) expected (doubles got)

                equal
                    "all"
                    (mean
                        [
                            for crop in rows do
                                yield! crop
                        ])
                    (IbotLoss.MeanScores(teacher, null))

                equal "hidden" (mean [ rows[0][0]; rows[0][2]; rows[1][1] ]) (IbotLoss.MeanScores(teacher, mask))
                equal "nothing hidden" [| 0.; 0.; 0.; 0. |] (IbotLoss.MeanScores(teacher, mask.mul ((0.).ToScalar())))
                let linked = IbotLoss.MeanScores(teacher.requires_grad_ (), mask)
                Expect.isFalse linked.requires_grad "detached"
            }

            test "codes are Sinkhorn's of the hidden patches alone; others are 0" {
                use scope = torch.NewDisposeScope()
                let teacher = cube 1. [ 3L; 4L; 5L ]
                let mask = masks [ [ 1.; 0.; 1.; 0. ]; [ 0.; 0.; 0.; 0. ]; [ 1.; 1.; 0.; 1. ] ]

                let hidden = [ 0, 0; 0, 2; 2, 0; 2, 1; 2, 3 ]
                let rows = nested teacher

                let alone = tensor [| 5L; 5L |] (hidden |> List.map (fun (b, p) -> rows[b][p]) |> Array.concat)

                for temperature in [ 0.05; 0.5 ] do
                    for iterations in [ 1; 3 ] do
                        let expected = doubles (Sinkhorn.Codes(alone, temperature, iterations)) |> Array.chunkBySize 5

                        let codes = nested (IbotLoss.Codes(teacher, mask, temperature, iterations))

                        for b in 0..2 do
                            for p in 0..3 do
                                match List.tryFindIndex ((=) (b, p)) hidden with
                                | Some i ->
                                    (expected[i], codes[b][p])
                                    ||> Array.iter2 (fun a c ->
                                        Expect.floatClose Accuracy.high c a $"crop {b}, patch {p}")
                                | None ->
                                    let row = codes[b][p]
                                    Expect.all row ((=) 0.) $"crop {b}, patch {p} takes no part"

                for dtype in [ torch.float32; torch.float64 ] do
                    let nothing = torch.zeros (3L, 4L, dtype = dtype)
                    let codes = IbotLoss.Codes(teacher.``to`` dtype, nothing, 0.04, 3)
                    Expect.all (doubles codes) Double.IsFinite "nothing hidden"
                    Expect.isFalse codes.requires_grad "detached"
            }

            test "nothing stays behind" {
                use student = torch.rand (2L, 3L, 4L)
                use targets = torch.rand (2L, 3L, 4L)
                use mask = torch.ones (2L, 3L)

                for mean in means do
                    GoldenLoss.leavesNothing (fun () -> IbotLoss.Loss(student, targets, mask, 0.1, mean))

                GoldenLoss.leavesNothing (fun () -> IbotLoss.Codes(student, mask, 0.1, 3))
                GoldenLoss.leavesNothing (fun () -> IbotLoss.MeanScores(student, mask))
                GoldenLoss.leavesNothing (fun () -> IbotLoss.MeanScores(student, null))
            }

            test "wrong shapes, temperatures and iterations are refused with a clear message" {
                let zeros (shape: int64 list) = torch.zeros (Array.ofList shape)

                let loss student targets mask (temperature: float) () =
                    IbotLoss.Loss(zeros student, zeros targets, zeros mask, temperature, PatchMean.Crops)

                let says part f =
                    Expect.stringContains (GoldenLoss.refusal f) part part

                says "expected (B, P, K), received (4, 2)" (loss [ 4L; 2L ] [ 4L; 2L ] [ 4L; 2L ] 0.1)
                says "expected (4, 2), received (4, 3)" (loss [ 4L; 2L; 5L ] [ 4L; 2L; 5L ] [ 4L; 3L ] 0.1)
                says "expected (4, 2, 5), received (4, 2, 6)" (loss [ 4L; 2L; 5L ] [ 4L; 2L; 6L ] [ 4L; 2L ] 0.1)
                says "must be positive; received 0" (loss [ 4L; 2L; 5L ] [ 4L; 2L; 5L ] [ 4L; 2L ] 0.)

                says "must be 1 or more; received 0" (fun () ->
                    IbotLoss.Codes(zeros [ 2L; 2L; 2L ], zeros [ 2L; 2L ], 0.1, 0))

                says "expected (2, 2), received (2)" (fun () -> IbotLoss.MeanScores(zeros [ 2L; 2L; 2L ], zeros [ 2L ]))
            }
        ]

module Tests.Core.DinoLossTests

open System
open System.Text.Json
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

/// Algorithm 1 of the paper for any number of crops: teacher (crop, image, K), student (crop, image, K).
let private naive
    (teacher: float[][][])
    (student: float[][][])
    (centre: float[])
    teacherTemperature
    studentTemperature
    =
    [
        for a in 0 .. teacher.Length - 1 do
            for v in 0 .. student.Length - 1 do
                if v <> a then
                    for i in 0 .. teacher[a].Length - 1 do
                        let t, s = teacher[a][i], student[v][i]
                        let p = Array.map2 (-) t centre |> softmax teacherTemperature
                        let q = softmax studentTemperature s
                        -(Array.fold2 (fun s p q -> s + p * log q) 0. p q)
    ]
    |> List.average

let private checkGradients (e: JsonElement) double (leaves: (string * torch.Tensor) list) =
    let bound = Golden.gradientBound e double

    for name, t in leaves do
        let summary = e.GetProperty("expected").GetProperty("grad").GetProperty name
        let g = doubles t.grad
        let norm = sqrt (summary.GetProperty("sumsq").GetDouble())
        Golden.agrees $"norm of gradient {name}" bound 0. norm (sqrt (Array.sumBy (fun x -> x * x) g))

        Golden.floats (summary.GetProperty "first6")
        |> Array.iteri (fun i x -> Golden.agrees $"gradient {name}[{i}]" 0. (bound * norm) x g[i])

let private cat (tensors: torch.Tensor list) = torch.cat (ResizeArray tensors, 0L)

let private golden =
    [
        for double in [ true; false ] do
            let precision = if double then "float64" else "float32"
            let dtype = if double then torch.float64 else torch.float32

            let leaf e (name: string) =
                (Golden.input name e ||> tensor).``to``(dtype).requires_grad_()

            test $"golden dinov2.cls {precision}" {
                use scope = torch.NewDisposeScope()
                let e = Golden.entry "losses" "dinov2.cls"
                let expected = e.GetProperty "expected"

                let p (name: string) =
                    e.GetProperty("params").GetProperty(name).GetDouble()

                let agrees (what: string) want got =
                    Expect.isTrue (Golden.within e double want got) $"{what}: {want} against {got}"

                let students = [ for i in 0..3 -> leaf e $"s{i}" ]

                // The sum over all pairs of two targets and two other crops: the mean over the pairs of four crops, less those of the first two.
                let across (others: torch.Tensor list) targets =
                    let first = students[..1]
                    let four = DinoLoss.Loss(cat (first @ others), targets, 4, p "student_temp")
                    let two = DinoLoss.Loss(cat first, targets, 2, p "student_temp")
                    four.mul((6.).ToScalar()).sub(two.mul ((2.).ToScalar()))

                let targets = DinoLoss.Targets(cat [ leaf e "t0"; leaf e "t1" ], null, p "teacher_temp")
                let loss = across students[2..] targets
                loss.backward ()
                agrees "value" (expected.GetProperty("value").GetDouble()) (scalar loss)
                checkGradients e double [ "s2", students[2]; "s3", students[3] ]

                let codes = Sinkhorn.Codes(cat [ leaf e "t0"; leaf e "t1" ], p "teacher_temp", int (p "n_iterations"))

                [|
                    for row in expected.GetProperty("sinkhorn_Q").EnumerateArray() do
                        yield! Golden.floats row
                |]
                |> Array.iteri (fun i want -> agrees $"Q[{i}]" want ((doubles codes)[i]))

                agrees
                    "with Sinkhorn"
                    (expected.GetProperty("sinkhorn_value").GetDouble())
                    (scalar (across students[..1] codes))
            }

            for e in Golden.family "losses" [ "dino"; "dino_pair" ] do
                let id = Golden.id e

                let p (name: string) =
                    e.GetProperty("params").GetProperty(name).GetDouble()

                if id.StartsWith "dino_pair." then
                    test $"golden {id} {precision}" {
                        use scope = torch.NewDisposeScope()
                        let a, b = leaf e "A", leaf e "B"
                        let both = cat [ a; b ]
                        let targets = DinoLoss.Targets(both, null, p "teacher_temp")
                        let loss = DinoLoss.Loss(both, targets, 2, p "student_temp")
                        loss.backward ()
                        let bound = Golden.bound e double
                        let want = e.GetProperty("expected").GetProperty("value").GetDouble()
                        Golden.agrees "value" (bound "rtol") (bound "atol") want (scalar loss)
                        checkGradients e double [ "A", a; "B", b ]
                    }

                if id = "dino.2steps.2global_2local" then
                    test $"golden {id} {precision}" {
                        use scope = torch.NewDisposeScope()
                        let expected = e.GetProperty "expected"
                        let bound = Golden.bound e double
                        let student = [ for i in 0..3 -> $"s{i}", leaf e $"s{i}" ]
                        let scores = cat (List.map snd student)
                        let centre = torch.zeros (1L, 8L, dtype = dtype)

                        let temperature epoch =
                            DinoLoss.TeacherTemperature(p "warmup_teacher_temp", p "teacher_temp", 3L, epoch)

                        let step (teacher: string list) epoch (centreName: string) =
                            let t = cat (teacher |> List.map (leaf e))
                            let targets = DinoLoss.Targets(t, centre, temperature epoch)
                            let loss = DinoLoss.Loss(scores, targets, 4, p "student_temp")
                            DinoLoss.MoveCentre(centre, t.mean ([| 0L |], keepdim = true), p "center_momentum")

                            Golden.floats (expected.GetProperty(centreName)[0])
                            |> Array.iteri (fun i c ->
                                Golden.agrees
                                    $"{centreName}[{i}]"
                                    (bound "rtol")
                                    (bound "atol")
                                    c
                                    (Array.item i (doubles centre)))

                            loss

                        let first = step [ "t0"; "t1" ] 0L "center_after_step1"
                        let second = step [ "u0"; "u1" ] 1L "center_after_step2"
                        let total = first.add second
                        total.backward ()

                        for name: string, t in [ "step1_value", first; "step2_value", second; "value", total ] do
                            Golden.agrees
                                name
                                (bound "rtol")
                                (bound "atol")
                                (expected.GetProperty(name).GetDouble())
                                (scalar t)

                        Golden.floats (expected.GetProperty "teacher_temps")
                        |> Array.iteri (fun i t ->
                            Golden.agrees "teacher temperature" 1e-12 0. t (temperature (int64 i)))

                        checkGradients e double student
                    }
    ]

[<Tests>]
let tests =
    testList
        "dino loss"
        [
            testList "golden" golden

            test "golden schedule.teacher_temp.dino" {
                let e = Golden.entry "optim" "schedule.teacher_temp.dino"

                let p (name: string) =
                    e.GetProperty("params").GetProperty name

                Golden.floats (e.GetProperty("expected").GetProperty "values")
                |> Array.iteri (fun epoch want ->
                    let got =
                        DinoLoss.TeacherTemperature(
                            (p "warmup_teacher_temp").GetDouble(),
                            (p "teacher_temp").GetDouble(),
                            (p "warmup_teacher_temp_epochs").GetInt64(),
                            int64 epoch
                        )

                    Golden.agrees $"epoch {epoch}" 1e-9 1e-12 want got)
            }

            test "a teacher's temperature without warm-up, or with one of a single step" {
                Expect.equal (DinoLoss.TeacherTemperature(0.04, 0.07, 0L, 0L)) 0.07 "none"
                Expect.equal (DinoLoss.TeacherTemperature(0.04, 0.07, 1L, 0L)) 0.04 "one step"
                Expect.equal (DinoLoss.TeacherTemperature(0.04, 0.07, 1L, 1L)) 0.07 "after it"
            }

            test "the loss equals loops from the paper" {
                for images in [ 1; 4 ] do
                    for prototypes in [ 2; 6 ] do
                        for crops in [ 2; 3; 10 ] do
                            use scope = torch.NewDisposeScope()
                            let student = matrix crops (crops * images) prototypes
                            let teacher = matrix 5 (2 * images) prototypes
                            let centre = matrix 8 1 prototypes

                            let rows (t: torch.Tensor) =
                                doubles t |> Array.chunkBySize prototypes |> Array.chunkBySize images

                            let expected = naive (rows teacher) (rows student) (doubles centre) 0.3 0.5
                            let targets = DinoLoss.Targets(teacher, centre, 0.3)

                            Golden.agrees
                                "loss"
                                1e-10
                                1e-12
                                expected
                                (scalar (DinoLoss.Loss(student, targets, crops, 0.5)))
            }

            test "the gradient equals finite differences, and none reaches the teacher" {
                let rows, width, h = 8, 3, 1e-6
                let z = arbitrary 3 (rows * width)
                use scope = torch.NewDisposeScope()
                let teacher = (matrix 5 4 width).requires_grad_()
                let targets = DinoLoss.Targets(teacher, null, 0.3)
                Expect.isFalse targets.requires_grad "targets are detached"
                let linked = targets.requires_grad_ ()
                let t = (tensor [| int64 rows; int64 width |] z).requires_grad_()
                DinoLoss.Loss(t, linked, 4, 0.2).backward()
                Expect.isNull teacher.grad "no gradient for the teacher"
                Expect.isNull linked.grad "nor for its distributions"

                doubles t.grad
                |> Array.iteri (fun i gradient ->
                    let moved d =
                        let values = Array.mapi (fun j x -> if i = j then x + d else x) z
                        scalar (DinoLoss.Loss(tensor [| int64 rows; int64 width |] values, targets, 4, 0.2))

                    Golden.agrees $"element {i}" 1e-6 1e-8 ((moved h - moved -h) / (2. * h)) gradient)
            }

            test "targets: sums of 1, sharper when colder, blind to a shift of all, moved by the centre" {
                use scope = torch.NewDisposeScope()
                let teacher = matrix 2 5 6

                let entropy (t: torch.Tensor) =
                    doubles t |> Array.sumBy (fun p -> -p * log p)

                let at temperature =
                    DinoLoss.Targets(teacher, null, temperature)

                Expect.all (doubles ((at 0.1).sum [| 1L |])) (fun s -> abs (s - 1.) < 1e-12) "sums"
                Expect.isLessThan (entropy (at 0.05)) (entropy (at 0.1)) "sharper"
                let shift = torch.full ([| 1L; 6L |], (0.7).ToScalar(), dtype = torch.float64)

                Array.iter2
                    (Golden.agrees "shift" 1e-12 0.)
                    (doubles (at 0.1))
                    (doubles (DinoLoss.Targets(teacher, shift, 0.1)))

                let single = teacher.narrow (0, 2L, 1L)
                let centred = DinoLoss.Targets(single, single, 0.1)
                Array.iter (Golden.agrees "what is its own centre is uniform" 1e-12 0. (1. / 6.)) (doubles centred)
            }

            test "equal scores cost ln K whatever the teacher says, with finite gradients" {
                for dtype in [ torch.float32; torch.float64 ] do
                    for fill in [ 0.; 1. ] do
                        use scope = torch.NewDisposeScope()
                        let student = torch.full([| 8L; 6L |], fill.ToScalar(), dtype = dtype).requires_grad_()
                        let targets = DinoLoss.Targets((matrix 5 4 6).``to`` dtype, null, 0.04)
                        let loss = DinoLoss.Loss(student, targets, 4, 0.1)
                        loss.backward ()
                        Golden.agrees "ln K" 1e-6 0. (log 6.) (scalar loss)
                        Expect.all (doubles student.grad) Double.IsFinite "gradient"

                Expect.floatClose Accuracy.high (DinoLoss.Chance 6) (log 6.) "the stated chance level"
            }

            test "all on one prototype costs nothing: the collapse that centring is against" {
                use scope = torch.NewDisposeScope()
                let scores = torch.zeros (8L, 6L)
                scores[torch.TensorIndex.Colon, torch.TensorIndex.Single 1L] <- torch.tensor 3f
                let targets = DinoLoss.Targets(scores.narrow (0, 0, 4L), null, 0.04)
                Expect.isLessThan (scalar (DinoLoss.Loss(scores, targets, 4, 0.1))) 1e-6 "loss"
            }

            test "the centre is a moving mean, changed in place" {
                use scope = torch.NewDisposeScope()
                let centre = tensor [| 1L; 2L |] [| 1.; 2. |]
                DinoLoss.MoveCentre(centre, tensor [| 1L; 2L |] [| 3.; -2. |], 0.9)
                Array.iter2 (Golden.agrees "centre" 1e-12 0.) [| 1.2; 1.6 |] (doubles centre)
            }

            test "wrong shapes and temperatures are refused with a clear message" {
                use scope = torch.NewDisposeScope()
                let zeros (shape: int64 list) = torch.zeros (Array.ofList shape)

                let says part (f: unit -> torch.Tensor) =
                    try
                        f () |> ignore
                        failtest "accepted"
                    with :? ArgumentException as e ->
                        Expect.stringContains e.Message part part

                says "expected (M, K), received (4)" (fun () -> DinoLoss.Targets(zeros [ 4L ], null, 0.1))

                says "expected (1, 3), received (1, 2)" (fun () ->
                    DinoLoss.Targets(zeros [ 4L; 3L ], zeros [ 1L; 2L ], 0.1))

                says "must be positive; received 0" (fun () -> DinoLoss.Targets(zeros [ 4L; 3L ], null, 0.))

                let loss scores targets crops temperature () =
                    DinoLoss.Loss(zeros scores, zeros targets, crops, temperature)

                says "V = 3" (loss [ 8L; 2L ] [ 4L; 2L ] 3 0.1)
                says "V = 1" (loss [ 8L; 2L ] [ 8L; 2L ] 1 0.1)
                says "(A·4, 2)" (loss [ 8L; 2L ] [ 2L; 2L ] 2 0.1)
                says "must be positive; received -1" (loss [ 8L; 2L ] [ 4L; 2L ] 2 -1.)
            }
        ]

/// Losses at the ends of what they accept: float32 against float64 at rows of any size and temperatures of any sharpness.
module Tests.Core.LossRangesTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Runtime
open SslResearch.Core.Training
open Tests.Support
open Tests.Support.Networks
open Tests.Support.Numbers

/// Values and gradients of a loss of these rows in one precision.
let private both
    (dtype: torch.ScalarType)
    (shapes: (int64[] * float[]) list)
    (loss: torch.Tensor list -> torch.Tensor)
    =
    use scope = torch.NewDisposeScope()
    let leaves = shapes |> List.map (fun (s, v) -> (tensor s v).``to``(dtype).requires_grad_())
    let value = loss leaves
    value.backward ()

    (doubles value)[0],
    [
        for leaf in leaves do
            match leaf.grad with
            | null -> ()
            | g -> doubles g
    ]

let private norm (g: float[]) =
    // Gradients with respect to huge rows are tiny; their squares must not vanish.
    let most = g |> Array.map abs |> Array.max

    if most = 0. then
        0.
    else
        most * sqrt (g |> Array.sumBy (fun x -> (x / most) ** 2.))

/// Value within 1e-5, gradients within 1e-3 of their norm where float32 can hold it.
let private agree what shapes loss =
    let wanted, gradients = both torch.float64 shapes loss
    let got, gradients32 = both torch.float32 shapes loss
    Expect.isTrue (Double.IsFinite got) $"{what}: finite, {got}"
    Golden.agrees what 1e-5 1e-6 wanted got

    for a, b in List.zip gradients gradients32 do
        let size = norm a

        if size > 1e-30 then
            Expect.isLessThanOrEqual (norm (Array.map2 (-) a b)) (1e-3 * size) $"{what}: gradient of norm {size}"

let private rows seed (scale: float) n d =
    let shape, values = GoldenLoss.arbitrary seed [ n; d ]
    shape, values |> Array.map (fun x -> float (float32 (scale * x)))

let private normalising: (string * int * (torch.Tensor list -> torch.Tensor)) list =
    [
        "NT-Xent", 2, (fun z -> NtXent.Loss(z[0], z[1], 0.2))
        "negative cosine", 2, (fun z -> NegativeCosine.Loss(z[0], z[1]))
        "BYOL", 2, (fun z -> NegativeCosine.Squares(z[0], z[1]))
        "InfoNCE in the batch", 2, (fun z -> InfoNce.Batch(z[0], z[1], 0.2))
        "InfoNCE of neighbours", 2, (fun z -> InfoNce.Neighbours(z[0], z[1], 0.2))
        "InfoNCE with a queue",
        2,
        (fun z ->
            let queue = (GoldenLoss.arbitrary 9. [ 16L; 8L ] ||> tensor).``to`` z[0].dtype
            InfoNce.Queue(z[0], z[1], UnitRows.Of queue, 0.2))
        "KoLeo", 1, (fun z -> KoLeoLoss.Loss z[0])
    ]

let private cases =
    [
        for name, count, loss in normalising do
            for scale in [ 1e-9; 1e-3; 1.; 1e3; 1e11; 1e13; 1e19; 1e25; 1e36 ] do
                test $"{name}, rows of size {scale}" {
                    let inputs = [ for i in 1..count -> rows (float i) scale 6L 8L ]
                    agree name inputs loss
                }
    ]

/// Losses of scores, which are divided by a temperature; above 100 both distributions are uniform to float32, and so is their difference 0.
let private tempered: (string * (float -> torch.Tensor list -> torch.Tensor)) list =
    [
        "NT-Xent", (fun t z -> NtXent.Loss(z[0], z[1], t))
        "InfoNCE in the batch", (fun t z -> InfoNce.Batch(z[0], z[1], t))
        "DINO",
        (fun t z ->
            let targets = DinoLoss.Targets(z[1], null, t)
            DinoLoss.Loss(z[0], targets, 2, t))
        "SwAV",
        (fun t z ->
            let codes = Sinkhorn.Codes(z[1].detach(), t, 3)
            SwavLoss.Loss(z[0], codes, 2, t))
        "iBOT",
        (fun t z ->
            let crops (x: torch.Tensor) = x.reshape (2L, 3L, 8L)
            let targets = DinoLoss.Targets(z[1].detach(), null, t).reshape(2L, 3L, 8L)
            let mask = torch.ones (2L, 3L, dtype = z[0].dtype)
            IbotLoss.Loss(crops z[0], targets, mask, t, PatchMean.Crops))
    ]

let private sharpness =
    [
        for name, loss in tempered do
            for temperature in [ 1e-4; 1e-3; 1e-2; 1.; 1e2 ] do
                test $"{name}, temperature {temperature}" {
                    let inputs = [ for i in 1..2 -> rows (float i) 1. 6L 8L ]
                    agree name inputs (loss temperature)
                }
    ]

let private closedForms =
    let same n d fill =
        torch.full ([| n; d |], (fill: float).ToScalar())

    let pair (a: float list) (b: float list) =
        tensor [| 2L; int64 a.Length |] (List.toArray (a @ b))

    // What is left has no code yet: the losses of CLIP and SigLIP.
    let ours: (string * (unit -> float)) list =
        [
            "ntxent all views identical", (fun () -> scalar (NtXent.Loss(same 8L 3L 0.5, 0.2)))
            "infonce with queue, all identical",
            (fun () ->
                let rows = UnitRows.Of(same 5L 3L 1.)
                scalar (InfoNce.Queue(same 2L 3L 1., same 2L 3L 2., rows, 0.2)))
            "dino/ibot/swav uniform teacher and student",
            (fun () ->
                let scores = same 4L 5L 0.
                scalar (DinoLoss.Loss(scores, DinoLoss.Targets(scores, null, 0.04), 2, 0.1)))
            "koleo two antipodal unit vectors (diagonal filled with -2)",
            (fun () -> scalar (KoLeoLoss.Loss(pair [ 1.; 0. ] [ -1.; 0. ])))
            "koleo two orthogonal unit vectors", (fun () -> scalar (KoLeoLoss.Loss(pair [ 1.; 0. ] [ 0.; 1. ])))
            "byol of identical vectors",
            (fun () -> scalar (NegativeCosine.Squares(pair [ 1.; 2. ] [ 3.; -1. ], pair [ 1.; 2. ] [ 3.; -1. ])))
            "simsiam of identical vectors",
            (fun () ->
                let z = pair [ 1.; 2. ] [ 3.; -1. ]
                scalar (NegativeCosine.Symmetric(z, z, z, z)))
            "sigmoid/vicreg variance hinge of constant features",
            (fun () ->
                let terms = VicRegTerms(0., 1., 0., false, VicRegCovariance.OverDimensions)
                scalar (VicRegLoss.Loss(same 4L 3L 1., same 4L 3L 1., terms)) / 2.)
            "rankme of an orthonormal D x D matrix (without eps)", (fun () -> Diagnostics.RankMe(torch.eye 4L, 0.))
        ]

    let unbuilt =
        [
            "clip all identical"
            "clip identity features"
            "siglip zero logits"
            "cross-entropy of zero logits over V classes"
        ]

    [
        let e = Golden.entry "losses" "closed_forms"

        let cases =
            [
                for case in e.GetProperty("expected").EnumerateArray() ->
                    nonNull (case.GetProperty("case").GetString()), case.GetProperty("value").GetDouble()
            ]

        test "closed forms: all that have code" {
            Expect.equal (set (List.map fst cases)) (set (List.map fst ours @ unbuilt)) "cases"
        }

        for name, compute in ours do
            test $"closed form: {name}" {
                use scope = torch.NewDisposeScope()
                let want = cases |> List.find (fst >> (=) name) |> snd
                let got = compute ()
                Expect.isTrue (Golden.within e false want got) $"{want} against {got}"
            }
    ]

[<Tests>]
let tests = testList "ranges of losses" [ yield! cases; yield! sharpness; yield! closedForms ]

/// What BYOL, SimSiam, Barlow Twins, VICReg and LeJEPA do beyond the laws of all methods.
module Tests.Core.JointEmbeddingTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Views
open Tests.Support.Networks
open Tests.Support.Numbers

let private head = MlpProjection([ 8 ], 6, false, true, true, OutputNorm.None)

let private small () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

let private start = StepContext(3UL, 0L, 10L, 0)

let private lossAt (context: StepContext) (method: ISslMethod<TwoViews>) images =
    use scope = torch.NewDisposeScope()
    let output = method.Forward(TwoViews images, &context)
    (scalar output.Loss)

let private loss method images = lossAt start method images

let private prefixes (method: ISslMethod<TwoViews>) =
    [ for struct (prefix, _) in method.Trained -> prefix ]

/// z of each half of the batch by itself.
let private apart (method: ISslMethod<TwoViews>) (images: torch.Tensor) =
    let n = images.shape[0] / 2L

    let z start =
        method.Projector.call (method.Encoder.call (images.narrow (0L, start, n)))

    z 0L, z n

let private byol (projector: ProjectionOptions) predictor start final =
    let method = new Byol(small (), ByolOptions(projector, predictor, start, final, ByolForm.SquaresSummed))

    method.Initialise 3UL
    method

let private simSiam (projector: ProjectionOptions) predictor stopGradient hold =
    let method = new SimSiam(small (), SimSiamOptions(projector, predictor, stopGradient, hold))

    method.Initialise 3UL
    method

let private terms = VicRegTerms(25., 25., 1., true, VicRegCovariance.OverDimensions)

let private none = Nullable<int>()

[<Tests>]
let tests =
    testList
        "joint embedding"
        [
            test "SimSiam, Barlow Twins and VICReg take each view as a batch of its own" {
                use scope = torch.NewDisposeScope()
                let images = torch.rand (12L, 3L, 8L, 8L)
                use simSiam = simSiam head none true true
                let z1, z2 = apart simSiam images

                let close (a: float) (b: torch.Tensor) =
                    Expect.floatClose Accuracy.medium a (scalar b)

                close (loss simSiam images) (NegativeCosine.Loss(z1, z2)) "SimSiam without predictor"
                use barlow = new BarlowTwins(small (), BarlowTwinsOptions(0.005, 0.1, BarlowDeviation.Biased, head))
                barlow.Initialise 3UL
                let z1, z2 = apart barlow images
                close (loss barlow images) (BarlowTwinsLoss.Loss(z1, z2, 0.005, 0.1)) "Barlow Twins"
                use vicReg = new VicReg(small (), VicRegOptions(terms, head))
                vicReg.Initialise 3UL
                let z1, z2 = apart vicReg images
                close (loss vicReg images) (VicRegLoss.Loss(z1, z2, terms)) "VICReg"
            }

            test "BYOL's teacher starts as the student and takes each view as a batch of its own" {
                use scope = torch.NewDisposeScope()
                let images = torch.rand (12L, 3L, 8L, 8L)
                use method = byol head none 0.99 1.
                let z1, z2 = apart method images

                Expect.floatClose
                    Accuracy.medium
                    (loss method images)
                    (scalar (NegativeCosine.SymmetricSquares(z1, z2, z1, z2)))
                    "loss"
            }

            test "BYOL's momentum rises by half a cosine, and stays where start and end are equal" {
                use rising = byol head (Nullable 8) 0.99 1.

                let at (method: Byol) step =
                    method.Teachers[0].Momentum.Invoke(StepContext(0UL, step, 100L, 0))

                Expect.floatClose Accuracy.high (at rising 0L) 0.99 "start"
                Expect.floatClose Accuracy.high (at rising 50L) 0.995 "half-way"
                Expect.floatClose Accuracy.high (at rising 100L) 1. "end"
                use still = byol head (Nullable 8) 0.9 0.9
                Expect.floatClose Accuracy.high (at still 30L) 0.9 "constant"
                Expect.equal [ for t in rising.Teachers -> t.Name ] [ "teacher.encoder"; "teacher.projector" ] "names"
            }

            test "heads can be left out" {
                use bare = byol (NoProjection()) none 0.99 1.
                Expect.equal (prefixes bare) [ "encoder" ] "BYOL"
                Expect.equal bare.Teachers.Count 1 "its teacher"
                Expect.isNull bare.Projector "no projector"
                use bareSiam = simSiam (NoProjection()) none true true
                Expect.equal (prefixes bareSiam) [ "encoder" ] "SimSiam"
                use whole = simSiam head (Nullable 3) true true
                Expect.equal (prefixes whole) [ "encoder"; "projector"; "predictor" ] "all heads"
                use scope = torch.NewDisposeScope()
                let images = torch.rand (8L, 3L, 8L, 8L)

                let methods: ISslMethod<TwoViews> list = [ bare; bareSiam; whole ]

                for method in methods do
                    Expect.isTrue (Double.IsFinite(loss method images)) "loss"
            }

            test "the predictor's rate is held where there is one and where it is asked for" {
                let held predictor hold =
                    use method = simSiam head predictor true hold
                    List.ofSeq (method :> ISslMethod<TwoViews>).HeldRate

                Expect.equal (held (Nullable 3) true) [ "predictor" ] "held"
                Expect.equal (held (Nullable 3) false) [] "not asked for"
                Expect.equal (held none true) [] "no predictor"
            }

            test "without stop-gradient SimSiam's loss is the same and its gradient is not" {
                use scope = torch.NewDisposeScope()
                let images = torch.rand (12L, 3L, 8L, 8L)

                let run stopGradient =
                    use method = simSiam head (Nullable 3) stopGradient true
                    let context = start
                    let output = method.Forward(TwoViews images, &context)
                    output.Loss.backward ()
                    let struct (_, projector) = method.Trained[1]
                    (scalar output.Loss), doubles (parameters projector |> List.head |> snd).grad

                let loss, gradient = run true
                let lossWithout, gradientWithout = run false
                Expect.floatClose Accuracy.medium lossWithout loss "loss"
                Expect.notEqual gradientWithout gradient "gradient"
            }

            test "LeJEPA shares batch statistics, and draws directions by seed and step" {
                use scope = torch.NewDisposeScope()
                let images = torch.rand (12L, 3L, 8L, 8L)

                let make lambda =
                    let method = new LeJepa(small (), LeJepaOptions(lambda, 4, 17, 3., head))
                    method.Initialise 3UL
                    method

                use invariance = make 0.
                let z = invariance.Projector.call (invariance.Encoder.call images)
                let difference = z.narrow (0L, 0L, 6L) - z.narrow (0L, 6L, 6L)
                let expected = (difference / 2.).square().mean()
                Expect.floatClose Accuracy.medium (loss invariance images) (scalar expected) "invariance alone"
                use method = make 1.

                let at seed step =
                    lossAt (StepContext(seed, step, 10L, 0)) method images

                Expect.equal (at 3UL 0L) (at 3UL 0L) "again"
                Expect.notEqual (at 3UL 1L) (at 3UL 0L) "another step"
                Expect.notEqual (at 4UL 0L) (at 3UL 0L) "another seed"
            }

            test "levels are those of the losses" {
                use byol = byol head (Nullable 3) 0.99 1.
                Expect.equal (byol.Levels 4) (LossLevels(4., 0.)) "BYOL"

                use halved = new Byol(small (), ByolOptions(head, none, 0.99, 1., ByolForm.CosinesAveraged))

                Expect.equal (halved.Levels 4) (LossLevels(0., -1.)) "BYOL, lightly's form"
                use simSiam = simSiam head none true true
                Expect.equal (simSiam.Levels 4) (LossLevels(0., -1.)) "SimSiam"
                use barlow = new BarlowTwins(small (), BarlowTwinsOptions(0.1, 0.5, BarlowDeviation.Biased, head))
                Expect.equal (barlow.Levels 11) (LossLevels(0.5 * (6. + 0.6 + 0.3), 3.)) "Barlow Twins"
                use vicReg = new VicReg(small (), VicRegOptions(terms, head))
                let levels = vicReg.Levels 4
                Expect.floatClose Accuracy.high levels.Chance.Value 21.875 "VICReg, chance"
                Expect.floatClose Accuracy.high levels.Collapsed.Value 24.75 "VICReg, collapsed"
            }

            test "impossible options are refused" {
                use encoder = small ()

                let refused f =
                    Expect.throwsT<ArgumentException>(fun () -> f () |> ignore)

                let byol start =
                    new Byol(encoder, ByolOptions(head, none, start, 1., ByolForm.SquaresSummed))

                refused (fun () -> byol 1.5) "momentum"
                refused (fun () -> new SimSiam(encoder, SimSiamOptions(head, Nullable 0, true, true))) "predictor"

                refused
                    (fun () -> new BarlowTwins(encoder, BarlowTwinsOptions(-1., 1., BarlowDeviation.Biased, head)))
                    "λ of Barlow Twins"

                refused
                    (fun () ->
                        new VicReg(encoder, VicRegOptions(VicRegTerms(-1., 1., 1., true, VicRegCovariance.Mean), head)))
                    "weight of VICReg"

                refused (fun () -> new LeJepa(encoder, LeJepaOptions(2., 4, 17, 3., head))) "λ of LeJEPA"
            }
        ]

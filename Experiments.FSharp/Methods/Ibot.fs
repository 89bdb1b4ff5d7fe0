namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// What keeps the teacher's distributions from collapsing, of whole crops and, apart from them, of patches.
[<RequireQualifiedAccess>]
type TeacherCentring =
    /// The moving mean of the teacher's scores is subtracted; of patches, the mean over all of them (iBOT). With the momentum 1 it
    /// stays 0, which is no centring.
    | Centre of momentum: float
    /// The same, but of patches the mean over those that are hidden (DINOv2 with centring, lightly).
    | HiddenCentre of momentum: float
    /// Sinkhorn over the batch's large crops, and over its hidden patches (DINOv2's and DINOv3's models).
    | Sinkhorn of iterations: int

[<RequireQualifiedAccess>]
module TeacherCentring =
    let describe centring =
        match centring with
        | TeacherCentring.Centre momentum -> $"moving mean {Problem.number momentum}"
        | TeacherCentring.HiddenCentre momentum -> $"moving mean {Problem.number momentum}, of hidden patches"
        | TeacherCentring.Sinkhorn iterations -> $"Sinkhorn, {iterations} iterations"

    /// As the engine takes it.
    let build centring : SslResearch.Core.Methods.TeacherCentring =
        match centring with
        | TeacherCentring.Centre momentum -> MovingCentre(momentum, false)
        | TeacherCentring.HiddenCentre momentum -> MovingCentre(momentum, true)
        | TeacherCentring.Sinkhorn iterations -> SinkhornCentring iterations

    let problems centring =
        match centring with
        | TeacherCentring.Centre momentum
        | TeacherCentring.HiddenCentre momentum -> Problem.fraction "momentum" momentum
        | TeacherCentring.Sinkhorn iterations -> Problem.atLeast 1 "iterations" iterations

/// What the loss of hidden patches is averaged over, once each crop has its mean.
[<RequireQualifiedAccess>]
type PatchMean =
    /// All large crops, those that hide nothing count 0: the authors of iBOT and DINOv2. With masks on half of the crops, the patches
    /// weigh half of what their weight says.
    | Crops
    /// The large crops that hide patches. The loss has a chance level then, and a run at chance is found out.
    | MaskedCrops

/// Zhou et al. 2022, "iBOT: Image BERT pre-training with online tokenizer".
type Ibot =
    {
        /// Of student and teacher.
        Head: DinoHead
        /// Another head for patches; None: one head serves both (the paper's choice).
        PatchHead: DinoHead option
        /// τ_s.
        StudentTemperature: float
        /// τ_t at the start, if it warms up.
        TeacherTemperatureStart: float
        /// τ_t of whole crops after the warm-up.
        TeacherTemperature: float
        /// τ_t of patches after the warm-up.
        PatchTemperature: float
        /// Part of the training over which τ_t goes from its start to its end, linearly.
        TemperatureWarmup: float
        /// What keeps the teacher from collapsing.
        Centring: TeacherCentring
        /// Weight of the loss of whole crops.
        ClsWeight: float
        /// Weight of the loss of hidden patches.
        PatchWeight: float
        /// What the latter is averaged over.
        PatchMean: PatchMean
        /// Part of the teacher's weights that the first step keeps.
        Momentum: float
        /// The same at the end; between them half a cosine.
        FinalMomentum: float
        /// Part of the training, from its start, for which the prototypes stay as they are.
        FreezeLast: float
    }

    /// The paper's ViT-S/16 of 800 epochs (section 4.1 and the authors' published command): one head 2048, 2048, 256 with 8192 prototypes
    /// for crops and patches, temperatures 0.1 and 0.04 to 0.07 over 30 epochs, centres 0.9, momentum 0.996 to 1, both losses with
    /// weight 1, prototypes frozen for an epoch.
    static member Default: Ibot =
        {
            Head =
                {
                    Layers = 3
                    Hidden = 2048
                    Bottleneck = 256
                    Prototypes = 8192
                    BatchNorm = false
                }
            PatchHead = None
            StudentTemperature = 0.1
            TeacherTemperatureStart = 0.04
            TeacherTemperature = 0.07
            PatchTemperature = 0.07
            TemperatureWarmup = 30. / 800.
            Centring = TeacherCentring.Centre 0.9
            ClsWeight = 1.
            PatchWeight = 1.
            PatchMean = PatchMean.Crops
            Momentum = 0.996
            FinalMomentum = 1.
            FreezeLast = 1. / 800.
        }

    /// A start at the scale of a CPU, for some 4000 steps of a small transformer: 512 prototypes balanced by Sinkhorn, since a moving mean needs
    /// more steps than these to follow, and a teacher that moves faster. Patches are averaged over masked crops with half the weight: with
    /// masks on half of the crops the same as the authors' mean, and with a chance level.
    static member CpuCifar: Ibot =
        { Ibot.Default with
            Head =
                {
                    Layers = 3
                    Hidden = 256
                    Bottleneck = 64
                    Prototypes = 512
                    BatchNorm = false
                }
            TemperatureWarmup = 0.3
            Centring = TeacherCentring.Sinkhorn 3
            PatchWeight = 0.5
            PatchMean = PatchMean.MaskedCrops
            Momentum = 0.98
            FreezeLast = 0.02
        }

    /// The engine's method, KoLeo included.
    member internal m.Engine(koLeo: float, context: MethodContext) : ISslMethod<MaskedCrops> =
        let mean =
            match m.PatchMean with
            | PatchMean.Crops -> SslResearch.Core.Losses.PatchMean.Crops
            | PatchMean.MaskedCrops -> SslResearch.Core.Losses.PatchMean.MaskedCrops

        new SslResearch.Core.Methods.Ibot(
            context.Encoder,
            IbotOptions(
                DinoHead.build m.Head,
                (m.PatchHead |> Option.map DinoHead.build |> Option.toObj),
                m.StudentTemperature,
                m.TeacherTemperatureStart,
                m.TeacherTemperature,
                m.PatchTemperature,
                m.TemperatureWarmup,
                TeacherCentring.build m.Centring,
                m.ClsWeight,
                m.PatchWeight,
                mean,
                koLeo,
                (fun step -> MovingAverage.Rising(m.Momentum, m.FinalMomentum, step.Step, step.TotalSteps)),
                m.FreezeLast
            ),
            context.Device
        )

    member internal m.AllFacts =
        let warming final =
            if m.TemperatureWarmup = 0. then
                Problem.number final
            else
                $"{Problem.number m.TeacherTemperatureStart} to {Problem.number final} over {Problem.number m.TemperatureWarmup}"

        [
            "student temperature", Problem.number m.StudentTemperature
            "teacher temperature", warming m.TeacherTemperature

            if m.PatchTemperature <> m.TeacherTemperature then
                "teacher temperature of patches", warming m.PatchTemperature

            "centring", TeacherCentring.describe m.Centring
            "weights", $"crops {Problem.number m.ClsWeight}, patches {Problem.number m.PatchWeight}"

            "patch mean",
            (match m.PatchMean with
             | PatchMean.Crops -> "all crops"
             | PatchMean.MaskedCrops -> "masked crops")

            "momentum", $"{Problem.number m.Momentum} to {Problem.number m.FinalMomentum}"
            "projection", DinoHead.describe m.Head
            "prototypes", string m.Head.Prototypes

            "patch projection",
            (match m.PatchHead with
             | None -> "the same"
             | Some head -> $"{DinoHead.describe head}, {head.Prototypes} prototypes")

            "prototypes frozen", Problem.number m.FreezeLast
        ]

    member internal m.AllProblems =
        [
            yield! DinoHead.problems m.Head |> Problem.within "Head"

            yield!
                m.PatchHead
                |> Option.toList
                |> List.collect DinoHead.problems
                |> Problem.within "PatchHead"

            yield! Problem.temperature "StudentTemperature" m.StudentTemperature
            yield! Problem.temperature "TeacherTemperatureStart" m.TeacherTemperatureStart
            yield! Problem.temperature "TeacherTemperature" m.TeacherTemperature
            yield! Problem.temperature "PatchTemperature" m.PatchTemperature
            yield! Problem.fraction "TemperatureWarmup" m.TemperatureWarmup
            yield! TeacherCentring.problems m.Centring |> Problem.within "Centring"
            yield! Problem.notNegative "ClsWeight" m.ClsWeight
            yield! Problem.notNegative "PatchWeight" m.PatchWeight

            if m.ClsWeight = 0. && m.PatchWeight = 0. then
                Problem.make "ClsWeight, PatchWeight" "both 0: nothing would be learned" "Give one of them a weight"

            yield! Problem.fraction "Momentum" m.Momentum
            yield! Problem.fraction "FinalMomentum" m.FinalMomentum
            yield! Problem.fraction "FreezeLast" m.FreezeLast
        ]

    interface INeedsVisionTransformer

    interface IMethod<MaskedCrops> with
        member m.Build context = m.Engine(0., context)

        member _.Card =
            {
                Name = "iBOT"
                Year = 2022
                Kind = SelfDistillation
                Idea =
                    "beside DINO on whole crops, a student predicts at each patch that is hidden from it what its own moving average says of that patch"
                Views = "two large crops with masks, and any number of small ones"
                Masking =
                    "each large crop with a probability (0.5), then a part drawn from a range (10–50 %) in blocks or at random; the teacher sees all"
                Negatives = "none"
                BatchSize = "little: the centres average over batches; the paper uses 1024"
                Teacher =
                    "moving average of encoder and heads, weights only; the encoder in evaluation mode, so without stochastic depth"
                Evaluated = "the teacher's encoder"
                Equation =
                    "w·DINO(crops) + w′·mean over crops of the mean over hidden patches of −Σₖ softmax((t − c′)/τ_t)ₖ log softmax(s/τ_s)ₖ, t and s of the same patch of the same crop"
                Source = "Zhou et al. 2022"
                Differences =
                    [
                        "crops are masked and their share drawn one by one, from seed, epoch, image and crop; DINOv2 masks exactly half of a batch's crops and spreads the shares evenly over them"
                        "a crop hides an exact number of patches: its share of them, rounded; the authors' blocks stop at or below it"
                        "all crops with any masks pass the student together; patch heads see only as many patches of each crop as may be hidden"
                        "the gain of the prototypes is fixed at 1; the authors learn it for ViT-S"
                        "temperatures warm up by the step, in the authors' code by the epoch"
                    ]
            }

        member _.HasProjector = true
        member m.Facts = m.AllFacts
        member m.Problems = m.AllProblems

    static member Entry =
        MethodEntry.make<MaskedCrops>
            Ibot.Default
            [ "default (paper)", Ibot.Default; "CPU-scale CIFAR-10", Ibot.CpuCifar ]

/// Oquab et al. 2023, "DINOv2: learning robust visual features without supervision": DINO and iBOT with heads of their own, Sinkhorn, KoLeo.
/// Stochastic depth, LayerScale and registers are fields of the encoder.
type DinoV2 =
    {
        /// Of student and teacher, for whole crops.
        Head: DinoHead
        /// For patches; None: one head serves both.
        PatchHead: DinoHead option
        /// τ_s.
        StudentTemperature: float
        /// τ_t at the start, if it warms up.
        TeacherTemperatureStart: float
        /// τ_t after the warm-up, of crops and patches.
        TeacherTemperature: float
        /// Part of the training over which τ_t goes from its start to its end, linearly.
        TemperatureWarmup: float
        /// What keeps the teacher from collapsing.
        Centring: TeacherCentring
        /// Weight of the loss of whole crops.
        ClsWeight: float
        /// Weight of the loss of hidden patches.
        PatchWeight: float
        /// What the latter is averaged over.
        PatchMean: PatchMean
        /// Weight of the spread (KoLeo) of the student's features of each large crop, summed over the two; 0 leaves it out. It compares
        /// the images of a batch, so a batch holds two or more.
        KoLeoWeight: float
        /// Part of the teacher's weights that the first step keeps.
        Momentum: float
        /// The same at the end; between them half a cosine.
        FinalMomentum: float
        /// Part of the training, from its start, for which the prototypes stay as they are.
        FreezeLast: float
    }

    /// The paper's ViT-L/14 of 500 epochs (the authors' vitl14.yaml): heads 2048, 2048, 384 for crops and 2048, 2048, 256 for patches, each
    /// with 131072 prototypes, Sinkhorn of 3 iterations, teacher's temperature 0.04 to 0.07 over 30 epochs, KoLeo 0.1,
    /// momentum 0.994 to 1, prototypes frozen for an epoch.
    static member Default: DinoV2 =
        {
            Head =
                {
                    Layers = 3
                    Hidden = 2048
                    Bottleneck = 384
                    Prototypes = 131072
                    BatchNorm = false
                }
            PatchHead =
                Some
                    {
                        Layers = 3
                        Hidden = 2048
                        Bottleneck = 256
                        Prototypes = 131072
                        BatchNorm = false
                    }
            StudentTemperature = 0.1
            TeacherTemperatureStart = 0.04
            TeacherTemperature = 0.07
            TemperatureWarmup = 30. / 500.
            Centring = TeacherCentring.Sinkhorn 3
            ClsWeight = 1.
            PatchWeight = 1.
            PatchMean = PatchMean.Crops
            KoLeoWeight = 0.1
            Momentum = 0.994
            FinalMomentum = 1.
            FreezeLast = 1. / 500.
        }

    /// A start at the scale of a CPU, for some 4000 steps of a small transformer: heads 256, 256, 64 with 512 prototypes each, momentum from 0.98.
    static member CpuCifar: DinoV2 =
        let head: DinoHead =
            {
                Layers = 3
                Hidden = 256
                Bottleneck = 64
                Prototypes = 512
                BatchNorm = false
            }

        { DinoV2.Default with
            Head = head
            PatchHead = Some head
            TemperatureWarmup = 0.3
            Momentum = 0.98
            FreezeLast = 0.02
        }

    /// All but KoLeo.
    member private m.WithoutKoLeo: Ibot =
        {
            Head = m.Head
            PatchHead = m.PatchHead
            StudentTemperature = m.StudentTemperature
            TeacherTemperatureStart = m.TeacherTemperatureStart
            TeacherTemperature = m.TeacherTemperature
            PatchTemperature = m.TeacherTemperature
            TemperatureWarmup = m.TemperatureWarmup
            Centring = m.Centring
            ClsWeight = m.ClsWeight
            PatchWeight = m.PatchWeight
            PatchMean = m.PatchMean
            Momentum = m.Momentum
            FinalMomentum = m.FinalMomentum
            FreezeLast = m.FreezeLast
        }

    interface INeedsVisionTransformer

    interface IMethod<MaskedCrops> with
        member m.Build context =
            if m.KoLeoWeight > 0. && context.BatchSize < 2 then
                invalidArg
                    (nameof context)
                    $"KoLeo compares the images of a batch, so a batch holds at least 2; received {context.BatchSize}. Enlarge the batch or set KoLeoWeight to 0."

            m.WithoutKoLeo.Engine(m.KoLeoWeight, context)

        member _.Card =
            {
                Name = "DINOv2"
                Year = 2023
                Kind = SelfDistillation
                Idea =
                    "DINO on whole crops and iBOT on hidden patches with heads of their own, assignments balanced by Sinkhorn, features spread over the batch"
                Views = "two large crops with masks, and any number of small ones"
                Masking =
                    "each large crop with a probability (0.5), then a part drawn from a range (10–50 %) in blocks or at random; the teacher sees all"
                Negatives = "none; KoLeo drives nearest neighbours of a batch apart"
                BatchSize =
                    "Sinkhorn balances within a batch, so more images than a few; the paper uses 2048 to 3072; KoLeo needs two"
                Teacher =
                    "moving average of encoder and heads, weights only; the encoder in evaluation mode, so without stochastic depth"
                Evaluated = "the teacher's encoder"
                Equation =
                    "w·DINO(crops) + w′·iBOT(hidden patches), both with targets Sinkhorn(t/τ_t); −λ Σ over the two large crops of the mean of ln distance to the nearest neighbour in the batch"
                Source = "Oquab et al. 2023; KoLeo: Sablayrolles et al. 2019"
                Differences =
                    [
                        "crops are masked and their share drawn one by one, from seed, epoch, image and crop; the authors mask exactly half of a batch's crops and spread the shares evenly over them"
                        "a crop hides an exact number of patches: its share of them, rounded"
                        "Sinkhorn and KoLeo see the whole batch; the authors' KoLeo sees what is on one device"
                        "KoLeo's weight multiplies the sum over both large crops, as in the authors' code, which reports half of it"
                        "one learning rate for all layers; the authors' falls from layer to layer"
                        "without Sinkhorn the authors centre patches by the mean of hidden ones: that is TeacherCentring.HiddenCentre"
                    ]
            }

        member _.HasProjector = true

        member m.Facts = m.WithoutKoLeo.AllFacts @ [ "KoLeo weight", Problem.number m.KoLeoWeight ]

        member m.Problems = m.WithoutKoLeo.AllProblems @ Problem.notNegative "KoLeoWeight" m.KoLeoWeight

    static member Entry =
        MethodEntry.make<MaskedCrops>
            DinoV2.Default
            [
                "default (paper, ViT-L/14)", DinoV2.Default
                "CPU-scale CIFAR-10", DinoV2.CpuCifar
            ]

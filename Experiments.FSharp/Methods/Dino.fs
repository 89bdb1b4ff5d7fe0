namespace SslResearch

open SslResearch.Core.Methods
open SslResearch.Core.Views

/// Caron et al. 2021, "Emerging properties in self-supervised vision transformers".
type Dino =
    {
        /// Of student and teacher.
        Head: DinoHead
        /// τ_s.
        StudentTemperature: float
        /// τ_t at the start, if it warms up.
        TeacherTemperatureStart: float
        /// τ_t after the warm-up.
        TeacherTemperature: float
        /// Part of the training over which τ_t goes from the one to the other, linearly.
        TemperatureWarmup: float
        /// Whether the teacher's scores are centred by their moving mean.
        Centring: bool
        /// Whether the teacher has its own temperature; without, it has the student's.
        Sharpening: bool
        /// Part of the centre that each step keeps.
        CentreMomentum: float
        /// Part of the teacher's weights that the first step keeps.
        Momentum: float
        /// The same at the end; between them half a cosine.
        FinalMomentum: float
        /// Part of the training, from its start, for which the prototypes stay as they are.
        FreezeLast: float
    }

    /// The paper: head 2048, 2048, 256 with 65536 prototypes, temperatures 0.1 and 0.04, centre 0.9, momentum 0.996 to 1 (section 3),
    /// prototypes frozen for the first of 100 epochs (defaults of the authors' main_dino.py).
    static member Default =
        {
            Head =
                {
                    Layers = 3
                    Hidden = 2048
                    Bottleneck = 256
                    Prototypes = 65536
                    BatchNorm = false
                }
            StudentTemperature = 0.1
            TeacherTemperatureStart = 0.04
            TeacherTemperature = 0.04
            TemperatureWarmup = 0.
            Centring = true
            Sharpening = true
            CentreMomentum = 0.9
            Momentum = 0.996
            FinalMomentum = 1.
            FreezeLast = 0.01
        }

    /// The paper's longer trainings: the teacher's temperature rises from 0.04 to 0.07 over 30 of 300 epochs (section 3, implementation
    /// details).
    static member TemperatureWarmsUp =
        { Dino.Default with
            TeacherTemperature = 0.07
            TemperatureWarmup = 0.1
        }

    /// The CPU-scale preset: a head of two layers with batch norm as lightly has for CIFAR-10, and momentum from 0.95, chosen on held-out images (recipe search-cifar10-cpu); 1024 prototypes.
    static member CpuCifar =
        { Dino.Default with
            Head =
                {
                    Layers = 2
                    Hidden = 512
                    Bottleneck = 256
                    Prototypes = 1024
                    BatchNorm = true
                }
            Momentum = 0.95
        }

    interface IMethod<MultiCrop> with
        member m.Build context =
            new SslResearch.Core.Methods.Dino(
                context.Encoder,
                DinoOptions(
                    DinoHead.build m.Head,
                    m.StudentTemperature,
                    m.TeacherTemperatureStart,
                    m.TeacherTemperature,
                    m.TemperatureWarmup,
                    m.Centring,
                    m.Sharpening,
                    m.CentreMomentum,
                    (fun step -> MovingAverage.Rising(m.Momentum, m.FinalMomentum, step.Step, step.TotalSteps)),
                    m.FreezeLast
                ),
                context.Device
            )

        member _.Card =
            {
                Name = "DINO"
                Year = 2021
                Kind = SelfDistillation
                Idea =
                    "a student predicts from any crop what its own moving average says of another, larger one, centred and sharpened"
                Views = "two large crops and any number of small ones"
                Masking = "none"
                Negatives = "none"
                BatchSize = "little: the centre averages over batches; the paper uses 1024"
                Teacher =
                    "moving average of encoder and head, weights only; in training mode, with batch-norm statistics of its own passes over the large crops"
                Evaluated = "the teacher's encoder"
                Equation =
                    "−Σₖ softmax((t − c)/τ_t)ₖ log softmax(s/τ_s)ₖ, mean over the pairs of a large crop (teacher) and another crop (student)"
                Source = "Caron et al. 2021"
                Differences =
                    [
                        "the teacher's temperature warms up by the step, in the authors' code by the epoch"
                        "while prototypes are frozen, their gradient is zero instead of absent: the optimiser's momentum and decay still see them, their directions stay"
                        "small crops pass the encoder apart from large ones even where both have one size"
                        "stochastic depth, where a transformer has it, is in the teacher too; the authors' teacher has none"
                        "solo-learn and lightly evaluate the student"
                    ]
            }

        member _.HasProjector = true

        member m.Facts =
            [
                "student temperature", Problem.number m.StudentTemperature
                "teacher temperature",
                (if not m.Sharpening then
                     "the student's"
                 elif m.TemperatureWarmup = 0. then
                     Problem.number m.TeacherTemperature
                 else
                     $"{Problem.number m.TeacherTemperatureStart} to {Problem.number m.TeacherTemperature} over {Problem.number m.TemperatureWarmup}")
                "centring",
                (if m.Centring then
                     Problem.number m.CentreMomentum
                 else
                     "off")
                "sharpening", (if m.Sharpening then "on" else "off")
                "momentum", $"{Problem.number m.Momentum} to {Problem.number m.FinalMomentum}"
                "projection", DinoHead.describe m.Head
                "prototypes", string m.Head.Prototypes
                "prototypes frozen", Problem.number m.FreezeLast
            ]

        member m.Problems =
            [
                yield! DinoHead.problems m.Head |> Problem.within "Head"
                yield! Problem.temperature "StudentTemperature" m.StudentTemperature
                yield! Problem.temperature "TeacherTemperatureStart" m.TeacherTemperatureStart
                yield! Problem.temperature "TeacherTemperature" m.TeacherTemperature
                yield! Problem.fraction "TemperatureWarmup" m.TemperatureWarmup
                yield! Problem.fraction "CentreMomentum" m.CentreMomentum
                yield! Problem.fraction "Momentum" m.Momentum
                yield! Problem.fraction "FinalMomentum" m.FinalMomentum
                yield! Problem.fraction "FreezeLast" m.FreezeLast
            ]

    static member Entry =
        MethodEntry.make<MultiCrop>
            Dino.Default
            [
                "default (paper)", Dino.Default
                "temperature warm-up (paper)", Dino.TemperatureWarmsUp
                "CPU-scale CIFAR-10", Dino.CpuCifar
            ]

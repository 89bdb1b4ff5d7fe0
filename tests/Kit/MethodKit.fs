/// The laws that every method keeps, tested on a tiny experiment of it. A file of tests/Methods states the experiment, once; the same
/// experiment is then also trained, killed and continued as a row of the recipe `tiny-methods`.
module Tests.Support.MethodKit

open System
open System.Collections.Generic
open System.IO
open System.Reflection
open System.Threading
open Expecto
open TorchSharp
open SslResearch
open SslResearch.Core.Data
open SslResearch.Core.Methods
open SslResearch.Core.Runtime
open SslResearch.Core.Training
open SslResearch.Core.Views

/// What holds for a method, beside what holds for all.
type Traits =
    {
        /// The loss does not depend on the order of the images in the batch.
        OrderFree: bool
        /// The loss stays the same when the views of each image change places.
        ViewsSwap: bool
        /// The loss of random weights, as a part of its chance level, may be off by this; None where it has no chance level at the start.
        NearChance: float option
    }

/// A method under test.
[<NoEquality; NoComparison>]
type MethodSpec =
    {
        Name: string
        /// Its row of the recipe `tiny-methods`.
        Run: Run
        /// The same experiment in another setting.
        With: (Setting -> Setting) -> Run
        Laws: Test
    }

/// Images, encoder and budget of the tiny experiments: 24 steps of 16-pixel images.
let setting =
    {
        Data =
            Shapes
                {
                    Train = 256
                    Test = 64
                    Size = 16
                    Seed = 5UL
                    Statistics = Independent
                }
        Backbone =
            {
                Block = Basic
                Blocks = [ 1; 1 ]
                Width = 8
                Stem = CifarStemStride2
            }
        Train =
            { Train.CpuScale with
                Epochs = 3
                BatchSize = 32
            }
        Protocols = [ Knn(k = 5, temperature = 0.1) ]
        Seeds = [ 0 ]
    }

/// A view that is never empty: random crops of 12 pixels with colour changes.
let view =
    [
        CropTo(12, 0.3, 1.0)
        Flip 0.5
        JitterOf(0.8, brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1)
        Gray 0.2
    ]

let private cpu = lazy (torch.device "cpu")

let private opened = Dictionary<Data, ImageStore>()

/// The images that an experiment trains on.
let private storeOf (data: Data) =
    lock opened (fun () ->
        match opened.TryGetValue data with
        | true, store -> store
        | _ ->
            let store = (Datasets.openSplits (DataRoot.Resolve null) data).Train
            opened[data] <- store
            store)

let private store (e: Experiment<'Views>) = storeOf (Run.ofExperiment e).TrainData

let private inFolder work =
    let root = Directory.CreateTempSubdirectory "sslr-kit-"

    try
        work root.FullName
    finally
        root.Delete true

/// The method of a run that others build on, trained anew.
let rec private trained (seed: uint64) (needed: ITrainedRun) : IDisposable =
    let run = needed :?> Run

    inFolder (fun folder ->
        (run.Train
            {
                Train = storeOf run.TrainData
                Seed = seed
                Device = "cpu"
                Workers = 1
                CheckpointEvery = 1000
                StopAtCollapse = false
                Folder = folder
                Progress =
                    { new IProgress<StepReport> with
                        member _.Report _ = ()
                    }
                Stop = CancellationToken.None
                Trained = trained seed
            })
            .Owner)

let private build (e: Experiment<'Views>) (seed: uint64) =
    let images = store e

    let method =
        e.Method.Build
            {
                Image = images.Shape
                Classes = images.ClassNames.Count
                Normalisation = Data.normalisation (store e) e.Setting.Data
                Encoder = e.Setting.Backbone.Build images.Shape.Channels
                Seed = seed
                Device = cpu.Value
                BatchSize = e.Setting.Train.BatchSize
                Trained = trained seed
            }

    method.Initialise seed

    for struct (_, trained) in method.Trained do
        trained.train ()

    method

let private augmenter (e: Experiment<'Views>) =
    e.Augment.Build((store e).Shape, Data.normalisation (store e) e.Setting.Data)

/// The tensors of one rendered batch, copied.
let private tensors (e: Experiment<'Views>) (step: int64) =
    let augmenter = augmenter e
    let size = e.Setting.Train.BatchSize

    use loader =
        new Loader<'Views>(store e, augmenter, LoaderOptions(size, 7UL, 1, 2, true), cpu.Value, step)

    let views = loader.Next().Views

    [
        for p in typeof<'Views>.GetProperties(BindingFlags.Public ||| BindingFlags.Instance) do
            if p.PropertyType = typeof<torch.Tensor> then
                match p.GetValue views with
                | null -> ()
                | t -> (t :?> torch.Tensor).clone()
    ]

/// Tensors of a batch with every image's rows rearranged: first dimension (views, images).
let private rearranged
    (e: Experiment<'Views>)
    (change: int64 -> torch.Tensor -> torch.Tensor)
    (batch: torch.Tensor list)
    =
    let buffers = (augmenter e).Buffers |> List.ofSeq
    Expect.equal batch.Length buffers.Length "a batch's tensors are its buffers, in the same order"

    [
        for buffer, tensor in List.zip buffers batch do
            let rows = int64 buffer.RowsPerImage
            let split = tensor.reshape [| rows; -1L; yield! tensor.shape[1..] |]
            (change rows split).reshape tensor.shape
    ]

let private assemble (e: Experiment<'Views>) (batch: torch.Tensor list) =
    (augmenter e).Assemble(List.toArray batch)

let private start = StepContext(7UL, 0L, 24L, 0)

let private forward (method: ISslMethod<'Views>) (views: 'Views) =
    let context = start
    use _ = torch.manual_seed (int64 context.Seed) // as the trainer seeds each step
    method.Forward(views, &context)

let private lossOf (method: ISslMethod<'Views>) views =
    use scope = torch.NewDisposeScope()
    float ((forward method views).Loss.item<float32>())

/// Loss of a fresh method on a batch, so that neither queue nor centre remembers the call before.
let private freshLoss e batch =
    use scope = torch.NewDisposeScope()
    use method = build e 3UL
    lossOf method (assemble e batch)

let private options (e: Experiment<'Views>) folder workers =
    let train = e.Setting.Train

    TrainOptions(
        train.Epochs,
        train.BatchSize,
        Train.optimiserOptions train.Optimiser,
        Train.peakRate train,
        train.WarmupFraction,
        train.FinalRate,
        Option.toNullable train.ClipNorm,
        11UL,
        workers,
        "cpu",
        5,
        4,
        folder
    )

/// Hash of all tensors of the last checkpoint.
let private weights folder =
    use file = SafetensorsFile.Open(Directory.GetFiles(folder, "step-*.safetensors") |> Array.max)
    file.DataHash()

let private train (e: Experiment<'Views>) folder workers (stopAt: int64) =
    use method = build e 11UL
    use stop = new CancellationTokenSource()

    let progress =
        { new IProgress<StepReport> with
            member _.Report r =
                if r.Step >= stopAt then
                    stop.Cancel()
        }

    Trainer.Train<'Views>(method, store e, augmenter e, options e folder workers, progress, stop.Token)

let private laws (e: Experiment<'Views>) (traits: Traits) =
    testList
        e.Name
        [
            test "the same seed gives the same weights and loss, another seed others" {
                use scope = torch.NewDisposeScope()
                let batch = tensors e 0L
                let first = freshLoss e batch
                Expect.equal (freshLoss e batch) first "again"
                use other = build e 4UL
                Expect.notEqual (lossOf other (assemble e batch)) first "another seed"
            }

            test "three steps leave no tensors behind, and the embedding is detached" {
                let batch = tensors e 0L
                use method = build e 3UL
                let views = assemble e batch

                let once step =
                    use scope = torch.NewDisposeScope()
                    let context = StepContext(7UL, step, 24L, 0)
                    let output = method.Forward(views, &context)
                    Expect.equal (output.Loss.numel ()) 1L "a scalar loss"
                    Expect.isFalse output.Embedding.requires_grad "the embedding is detached"
                    Expect.equal output.Embedding.shape.Length 2 "(M, d)"

                    match output.Assignment with
                    | null -> ()
                    | rows ->
                        Expect.isFalse rows.requires_grad "the assignment is detached"
                        let sums = rows.sum ([| 1L |])
                        Expect.isTrue (torch.allclose (sums, torch.ones_like sums, 1e-4, 1e-4)) "rows sum to 1"

                    output.Loss.backward ()
                    use _ = torch.no_grad ()
                    method.AfterUpdate(&context)

                once 0L // gradients are allocated here
                let before = LiveTensors.settled ()

                for step in 1L .. 3L do
                    once step

                Expect.equal torch.Tensor.TotalCount before "live tensors after three more steps"
                batch |> List.iter _.Dispose()
            }

            test "every trained parameter is reached by the gradient, and no teacher is" {
                use scope = torch.NewDisposeScope()
                use method = build e 3UL
                (forward method (assemble e (tensors e 0L))).Loss.backward()

                for struct (prefix, m) in method.Trained do
                    for name, p in Networks.parameters m do
                        if p.requires_grad then
                            Expect.isFalse (isNull p.grad) $"{prefix}.{name} has a gradient"
                            Expect.isTrue (p.grad.isfinite().all().item<bool>()) $"{prefix}.{name}: finite"

                for teacher in method.Teachers do
                    for name, p in Networks.parameters teacher.Teacher do
                        Expect.isTrue
                            (isNull p.grad || p.grad.abs().max().item<float32>() = 0f)
                            $"{teacher.Name}.{name} has no gradient"
            }

            test "the teachers start as their students" {
                use method = build e 3UL

                for teacher in method.Teachers do
                    for (name, s), (_, t) in
                        List.zip (Networks.parameters teacher.Student) (Networks.parameters teacher.Teacher) do
                        Expect.isTrue (s.eq(t).all().item<bool>()) $"{teacher.Name}.{name}"
            }

            test "loss and gradient are finite where all images are equal" {
                use scope = torch.NewDisposeScope()
                use method = build e 3UL

                let same =
                    tensors e 0L
                    |> rearranged e (fun _ t -> t.narrow(1, 0, 1).expand(t.shape).contiguous())

                let loss = (forward method (assemble e same)).Loss
                Expect.isTrue (Double.IsFinite(float (loss.item<float32>()))) "loss"
                loss.backward ()

                for struct (prefix, m) in method.Trained do
                    for name, p in Networks.parameters m do
                        if not (isNull p.grad) then
                            Expect.isTrue (p.grad.isfinite().all().item<bool>()) $"{prefix}.{name}"
            }

            if traits.OrderFree then
                test "the loss does not see the order of the images" {
                    use scope = torch.NewDisposeScope()
                    let batch = tensors e 0L
                    let n = int64 e.Setting.Train.BatchSize

                    let order = torch.tensor [| for i in 0L .. n - 1L -> (5L * i + 3L) % n |]

                    let moved = batch |> rearranged e (fun _ t -> t.index_select (1, order))
                    let expected = freshLoss e batch
                    Expect.isLessThan (abs (freshLoss e moved - expected)) (2e-4 * max 1. (abs expected)) "loss"
                }

            if traits.ViewsSwap then
                test "the loss does not see which view came first" {
                    use scope = torch.NewDisposeScope()
                    let batch = tensors e 0L
                    let moved = batch |> rearranged e (fun _ t -> t.flip [| 0L |])
                    let expected = freshLoss e batch
                    Expect.isLessThan (abs (freshLoss e moved - expected)) (2e-4 * max 1. (abs expected)) "loss"
                }

            match traits.NearChance with
            | Some part ->
                test "random weights start near the chance level" {
                    use scope = torch.NewDisposeScope()
                    use method = build e 3UL
                    let chance = (method.Levels e.Setting.Train.BatchSize).Chance.Value
                    let loss = lossOf method (assemble e (tensors e 0L))

                    Expect.isLessThan (abs (loss - chance)) (part * max 1. (abs chance)) $"loss {loss}, chance {chance}"
                }
            | None -> ()

            test "stopped and continued, and with other worker counts, it ends with the same state and metrics" {
                inFolder (fun root ->
                    let folder name = Path.Combine(root, name)

                    let metrics name =
                        File.ReadAllText(Path.Combine(folder name, "metrics.jsonl"))

                    let whole = train e (folder "whole") 1 Int64.MaxValue
                    Expect.equal whole.End TrainEnd.Finished "trained"
                    train e (folder "workers") 3 Int64.MaxValue |> ignore
                    Expect.equal (weights (folder "workers")) (weights (folder "whole")) "other worker count"
                    let stopped = train e (folder "stopped") 2 9L
                    Expect.equal stopped.End TrainEnd.Interrupted "stopped"
                    train e (folder "stopped") 2 Int64.MaxValue |> ignore
                    Expect.equal (weights (folder "stopped")) (weights (folder "whole")) "continued"
                    Expect.equal (metrics "stopped") (metrics "whole") "metrics")
            }

            test "disposing frees the networks, the teachers and the state" {
                let method = build e 3UL

                let owned =
                    [
                        for struct (_, m) in method.Trained do
                            yield! Networks.parameters m |> List.map snd

                        for t in method.Teachers do
                            yield! Networks.parameters t.Teacher |> List.map snd

                        yield! method.State.Values
                    ]

                method.Dispose()
                Expect.all owned (fun t -> t.IsInvalid) "freed"
            }
        ]

/// A tiny experiment of a method, its laws and its row.
let spec (e: Experiment<'Views>) (traits: Traits) =
    {
        Name = e.Name
        // Specs choose encoder and budget freely: nothing is compared.
        Run = Run.ofExperiment e |> Run.reference
        With = fun change -> Run.ofExperiment { e with Setting = change e.Setting } |> Run.reference
        Laws = laws e traits
    }

/// The tiny experiment of a method on augmentations that suit it.
let tiny name (augment: IAugmentation<'Views>) (method: IMethod<'Views>) : Experiment<'Views> =
    {
        Name = name
        Setting = setting
        Augment = augment
        Method = method
    }

/// Every spec of tests/Methods: what is stated there is found here, without a list.
let all: Lazy<MethodSpec list> =
    lazy
        ([
            for t in Assembly.GetExecutingAssembly().GetTypes() do
                if (string t.FullName).StartsWith "Tests.Methods." then
                    for p in t.GetProperties(BindingFlags.Public ||| BindingFlags.Static) do
                        if p.PropertyType = typeof<MethodSpec> then
                            p.GetValue null :?> MethodSpec
         ]
         |> List.sortBy _.Name)

/// All tiny experiments as one recipe.
let recipe () =
    {
        Name = "tiny-methods"
        Summary = "a real training of every method, a few seconds each"
        Tables = [ Table.compare "tiny" (all.Value |> List.map _.Run) setting.Protocols ]
    }

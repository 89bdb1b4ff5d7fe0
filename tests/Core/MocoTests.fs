module Tests.Core.MocoTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Losses
open SslResearch.Core.Methods
open SslResearch.Core.Models.Layers
open SslResearch.Core.Models
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open Tests.Support.Networks

let private seed = 5UL

let private encoder () =
    resnet ResidualBlock.Basic [ 1; 1 ] 4 Stem.Cifar

let private mlp outputs norm =
    MlpProjection([ 8 ], outputs, false, true, (norm = OutputNorm.None), norm)

let private options symmetric splits shuffle =
    MocoOptions(20, 0.9, 0.2, LinearProjection(6, false), symmetric, splits, shuffle)

let private moco options =
    let method = new Moco(encoder (), options, seed, torch.CPU)
    method.Initialise seed
    // Key networks that differ from the query networks, so that neither can stand for the other.
    use frozen = torch.no_grad ()

    for teacher in method.Teachers do
        for i, (_, p) in List.indexed (parameters teacher.Teacher) do
            p.mul_ ((1. + 0.1 * float (i % 3)).ToScalar()) |> ignore

    method

/// Images of one size, a function of the number.
let private images (number: int) (count: int) =
    let values =
        Array.init (count * 3 * 64) (fun i ->
            float32 (sin (float number + 0.7 * float i + 0.01 * float (i % 97) ** 2.)))

    torch.tensor(values).reshape(int64 count, 3L, 8L, 8L)

let private context step = StepContext(seed, step, 100L, 0)

let private forward (method: ISslMethod<TwoViews>) views step =
    let at = context step
    method.Forward(views, &at)

let private update (method: ISslMethod<TwoViews>) step =
    let at = context step
    method.AfterUpdate(&at)

let private item (t: torch.Tensor) = float (t.item<float32>())

let private unit (t: torch.Tensor) =
    torch.nn.functional.normalize (t, 2., 1L)

let private call (m: torch.nn.Module) (x: torch.Tensor) =
    (m :?> torch.nn.Module<torch.Tensor, torch.Tensor>).call x

let private state (method: ISslMethod<TwoViews>) name = method.State[name]

let private near what (expected: torch.Tensor) (got: torch.Tensor) =
    Expect.isTrue (torch.allclose (expected, got, 1e-5, 1e-6)) $"{what}: {doubles expected} against {doubles got}"

/// The network's output for some rows at a time, put back where the rows came from.
let private byChunks (network: torch.Tensor -> torch.Tensor) (x: torch.Tensor) (chunks: int64 list list) =
    let order = List.concat chunks

    let outputs =
        chunks
        |> List.map (fun rows -> network (x.index_select (0L, torch.tensor (List.toArray rows))))

    let all = torch.cat (List.toArray outputs, 0L)

    [|
        for i in 0L .. x.shape[0] - 1L -> all[int64 (List.findIndex ((=) i) order)]
    |]
    |> torch.stack

let private mocoTests =
    [
        test "MoCo in split and shuffled chunks equals its definition by hand, and enqueues keys in the images' order" {
            use scope = torch.NewDisposeScope()
            use method = moco (options false 3 true)
            let views = TwoViews(images 1 20)
            let query = method.Encoder.call >> method.Projector.call
            let key = call method.Teachers[0].Teacher >> call method.Teachers[1].Teacher
            let inOrder = [ [ 0L .. 2L ]; [ 3L .. 5L ]; [ 6L .. 9L ] ]
            let order = Array.zeroCreate<int> 10
            Philox(seed, RandomPurpose.Method, 7u, 1u, 2us).Permutation(order.AsSpan())
            let shuffled = inOrder |> List.map (List.map (fun i -> int64 order[int i]))
            let before = (state method "queue").clone()

            let split chunks =
                for struct (_, network) in method.Trained do
                    NormLayer.Split(network, chunks)

                for teacher in method.Teachers do
                    NormLayer.Split(teacher.Teacher, chunks)

            let expected, keys =
                use frozen = torch.no_grad ()
                split 1
                let q = byChunks query (views.First()) inOrder
                let k = byChunks key (views.Second()) shuffled
                split 3
                InfoNce.Queue(q, k, before, 0.2), unit k

            let output = forward method views 7L
            near "loss" expected output.Loss
            Expect.equal output.Embedding.shape [| 10L; 6L |] "the queries' z"
            Expect.equal (doubles (state method "queue")) (doubles before) "the forward pass leaves the queue alone"
            update method 7L
            near "queue" keys ((state method "queue").narrow(0L, 0L, 10L))
            Expect.equal ((state method "queue_position").item<int64>()) 10L "position"
            update method 7L
            Expect.equal ((state method "queue_position").item<int64>()) 10L "once a step"
        }

        test "another step shuffles keys in another way, one chunk is not shuffled at all" {
            use scope = torch.NewDisposeScope()
            let views = TwoViews(images 1 20)

            let loss splits shuffle step =
                use method = moco (options false splits shuffle)
                item (forward method views step).Loss

            Expect.equal (loss 3 true 4L) (loss 3 true 4L) "the same step"
            Expect.notEqual (loss 3 true 4L) (loss 3 true 5L) "another step"
            Expect.notEqual (loss 3 true 4L) (loss 3 false 4L) "without"
            Expect.equal (loss 1 true 4L) (loss 1 false 4L) "one chunk"
        }

        test "where batch norm uses fixed statistics, chunks and order change nothing" {
            use scope = torch.NewDisposeScope()
            let views = TwoViews(images 1 20)

            let loss splits shuffle =
                use method = moco (options true splits shuffle)
                method.Encoder.eval ()

                for teacher in method.Teachers do
                    teacher.Teacher.eval ()

                item (forward method views 3L).Loss

            Expect.isLessThan (abs (loss 3 true - loss 1 false)) 1e-5 "loss"
        }

        test "the symmetric loss is the mean of both directions, and takes both views' keys after them" {
            use scope = torch.NewDisposeScope()
            let both = images 1 20
            let swapped = both.roll (10L, 0L)

            let run symmetric (x: torch.Tensor) =
                use method = moco (options symmetric 1 false)
                let loss = item (forward method (TwoViews x) 0L).Loss
                update method 0L
                loss, (state method "queue").clone()

            let first, second = run false both, run false swapped
            let loss, queue = run true both
            Expect.isLessThan (abs (loss - (fst first + fst second) / 2.)) 1e-5 "mean"

            let keys (run: float * torch.Tensor) = (snd run).narrow(0L, 0L, 10L)
            near "both views' keys" (torch.cat ([| keys first; keys second |], 0L)) queue
        }

        test "against a queue of its own keys, random weights are at the chance level; against random rows below" {
            use scope = torch.NewDisposeScope()
            use method = new Moco(encoder (), options false 1 false, seed, torch.CPU)
            method.Initialise seed
            let chance = (method.Levels 10).Chance.Value
            Expect.floatClose Accuracy.high chance (log 21.) "ln(1+K)"

            let losses =
                [
                    for step in 0..4 do
                        let output = forward method (TwoViews(images (step + 1) 20)) (int64 step)
                        update method (int64 step)
                        item output.Loss
                ]

            Expect.isLessThan losses[0] (0.8 * chance) "a key is told from random rows"
            Expect.isLessThan (abs (losses[4] - chance)) (0.1 * chance) $"its own keys: {losses}"
        }

        test "a batch too small for its chunks is refused with a clear message" {
            use scope = torch.NewDisposeScope()
            use method = moco (options false 6 true)

            try
                forward method (TwoViews(images 1 20)) 0L |> ignore
                failtest "accepted"
            with :? ArgumentException as e ->
                Expect.stringContains e.Message "A batch of 10 images does not fill 6 chunks of at least 2" "message"
        }
    ]

let private v3Tests =
    [
        test "MoCo v3 equals its definition by hand" {
            use scope = torch.NewDisposeScope()
            let head = mlp 6 OutputNorm.Plain
            use method = new MocoV3(encoder (), MocoV3Options(0.2, (fun _ -> 0.9), head, head))
            method.Initialise seed
            let views = TwoViews(images 1 20)
            let struct (prefix, predictor) = method.Trained[2]
            Expect.equal prefix "predictor" "the third network"
            let query = method.Encoder.call >> method.Projector.call >> call predictor
            let key = call method.Teachers[0].Teacher >> call method.Teachers[1].Teacher

            let expected =
                InfoNce
                    .Batch(query (views.First()), key (views.Second()), 0.2)
                    .add(InfoNce.Batch(query (views.Second()), key (views.First()), 0.2))

            let output = forward method views 0L
            near "loss" expected output.Loss
            Expect.equal output.Embedding.shape [| 20L; 6L |] "z of both views"
            Expect.equal (method.Levels 10) (LossLevels(0.8 * log 10., 0.8 * log 10.)) "levels"
        }
    ]

/// Section 3.2 of the paper, loop by loop.
let private naiveNeighbours (z: float[][]) (p: float[][]) (queue: float[][]) temperature =
    let length v = sqrt (Array.sumBy (fun x -> x * x) v)

    let cosine a b =
        Array.fold2 (fun s x y -> s + x * y) 0. a b / (length a * length b)

    z
    |> Array.mapi (fun i zi ->
        let neighbour = queue |> Array.maxBy (cosine zi)
        let weights = p |> Array.map (fun pj -> exp (cosine neighbour pj / temperature))
        -log(weights[i] / Array.sum weights))
    |> Array.average

let private nnclrTests =
    [
        test "NNCLR equals loops from the paper over several steps, and its queue takes the first view once a step" {
            use scope = torch.NewDisposeScope()
            let options = NnClrOptions(17, 0.1, mlp 6 OutputNorm.Affine, mlp 6 OutputNorm.None)
            use method = new NnClr(encoder (), options, seed, torch.CPU)
            method.Initialise seed
            let struct (_, predictor) = method.Trained[2]
            let rows t = doubles t |> Array.chunkBySize 6
            let mutable remembered = rows (state method "queue") |> List.ofArray

            for step in 0..3 do
                let views = TwoViews(images (step + 1) 20)
                let z1 = (method.Encoder.call >> method.Projector.call) (views.First())
                let z2 = (method.Encoder.call >> method.Projector.call) (views.Second())
                let p1, p2 = rows (call predictor z1), rows (call predictor z2)
                let queue = List.toArray remembered

                let expected =
                    (naiveNeighbours (rows z1) p2 queue 0.1 + naiveNeighbours (rows z2) p1 queue 0.1)
                    / 2.

                let output = forward method views (int64 step)
                Expect.isLessThan (abs (item output.Loss - expected)) 1e-4 $"loss of step {step}"
                update method (int64 step)
                remembered <- List.skip 10 (remembered @ List.ofArray (rows (unit z1)))

            let position = int ((state method "queue_position").item<int64>())
            Expect.equal position (40 % 17) "position"
            let all = rows (state method "queue")

            Array.append all[position..] all[.. position - 1]
            |> Array.concat
            |> Array.iter2
                (fun x y -> Expect.isLessThan (abs (x - y)) 1e-5 "queue, oldest first")
                (Array.concat remembered)

            Expect.equal (method.Levels 10) (LossLevels(log 10., log 10.)) "levels"
        }
    ]

let private refused =
    test "impossible options are refused" {
        use encoder = encoder ()

        let refused what (expected: string) (f: unit -> IDisposable) =
            try
                (f ()).Dispose()
                failtest $"{what}: accepted"
            with :? ArgumentException as e ->
                Expect.stringContains e.Message expected what

        let moco k m t splits () : IDisposable =
            new Moco(encoder, MocoOptions(k, m, t, NoProjection(), false, splits, true), seed, torch.CPU)

        refused "queue" "queue size must be at least 1; received 0" (moco 0 0.9 0.1 1)
        refused "momentum" "momentum must be from 0 to 1; received 1.1" (moco 9 1.1 0.1 1)
        refused "temperature" "temperature must be positive; received 0" (moco 9 0.9 0. 1)
        refused "splits" "must be at least 1; received 0" (moco 9 0.9 0.1 0)

        let wrong = mlp 5 OutputNorm.None

        refused "predictor of MoCo v3" "as long as those it takes in, 6; received 5" (fun () ->
            new MocoV3(encoder, MocoV3Options(0.2, (fun _ -> 0.9), mlp 6 OutputNorm.None, wrong)))

        refused "predictor of NNCLR" "as long as those it takes in, 6; received 5" (fun () ->
            new NnClr(encoder, NnClrOptions(9, 0.1, mlp 6 OutputNorm.None, wrong), seed, torch.CPU))
    }

[<Tests>]
let tests =
    testList "momentum contrast" [ yield! mocoTests; yield! v3Tests; yield! nnclrTests; refused ]

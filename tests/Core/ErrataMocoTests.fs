module Tests.Core.ErrataMocoTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open SslResearch.Core.Models
open SslResearch.Core.Models.Layers
open SslResearch.Core.Views
open Tests.Support.Networks

/// The queue as the documents write it: the batch goes to position … position + batch, then the position moves on.
let private asWritten (queue: torch.Tensor) (position: int64) (keys: torch.Tensor) =
    let batch = keys.shape[0]

    queue.slice(0L, position, min (position + batch) queue.shape[0], 1L).copy_ keys
    |> ignore

    (position + batch) % queue.shape[0]

let private numbered from count =
    tensor
        [| int64 count; 2L |]
        [|
            for i in from .. from + count - 1 do
                float i
                1.
        |]

let private fails (write: unit -> int64) =
    try
        write () |> ignore
        false
    with _ ->
        true

/// Sees nothing of an image but one pixel that is black in all images, after batch norm: what it puts out is −mean/deviation of the chunk
/// that the image happened to be in.
type private BlindEncoder(channels: int) as this =
    inherit Backbone("BlindEncoder")
    let norm = new NormLayer(channels, false)
    do this.register_module ("norm", norm)
    override _.FeatureCount = channels
    override _.Layers = [| Backbone.Output |]

    override _.forward(images: torch.Tensor) =
        use normed = norm.call images // (N, C, 1, 2)
        normed.narrow(3L, 0L, 1L).flatten(1L)

    override this.Layer(images, _) = this.forward images
    override _.Map _ = raise (NotSupportedException())
    override _.Twin() = new BlindEncoder(channels)

/// Two noisy views of images whose left pixel is black and whose right pixel is noise of unit deviation.
let private blackCorner seed (count: int64) (channels: int64) =
    use generator = torch.manual_seed seed
    let content = torch.randn (count, channels, 1L, 1L)

    let view () =
        let right = content.add (torch.randn(count, channels, 1L, 1L).mul(0.1.ToScalar()))
        torch.cat ([| torch.zeros_like right; right |], 3L)

    TwoViews(torch.cat ([| view (); view () |], 0L))

/// Mean loss of a network that cannot learn anything, once the queue holds its own keys.
let private blindLoss splits shuffle =
    use scope = torch.NewDisposeScope()
    let options = MocoOptions(1024, 0.99, 0.1, NoProjection(), false, splits, shuffle)
    use method = new Moco(new BlindEncoder(64), options, 1UL, torch.CPU)
    method.Initialise 1UL

    let losses =
        [
            for step in 0L .. 9L do
                let context = StepContext(1UL, step, 10L, 0)
                let output = method.Forward(blackCorner (100L + step) 256L 64L, &context)
                method.AfterUpdate(&context)
                float (output.Loss.item<float32>())
        ]

    losses |> List.skip 4 |> List.average, (method.Levels 256).Chance.Value

[<Tests>]
let tests =
    testList
        "errata"
        [
            test "erratum 6: the queue as written fails where its size is no multiple of the batch" {
                use scope = torch.NewDisposeScope()
                let written = torch.zeros (10L, 2L, dtype = torch.float64)
                let mutable position = 0L
                position <- asWritten written position (numbered 0 4)
                position <- asWritten written position (numbered 4 4)
                Expect.isTrue (fails (fun () -> asWritten written position (numbered 8 4))) "the third batch of 4 in 10"

                use ours = new FeatureQueue(torch.zeros (10L, 2L, dtype = torch.float64))

                for start in [ 0; 4; 8 ] do
                    ours.Enqueue(numbered start 4)

                Expect.equal
                    (doubles (ours.Rows.narrow (1L, 0L, 1L)))
                    [| 10.; 11.; 2.; 3.; 4.; 5.; 6.; 7.; 8.; 9. |]
                    "the last ten"
            }

            test "erratum 6: the queue as written fails after a last partial batch" {
                use scope = torch.NewDisposeScope()
                let written = torch.zeros (8L, 2L, dtype = torch.float64)
                let mutable position = 0L

                // An epoch of 7 images in batches of 4, then the next one.
                for start, count in [ 0, 4; 4, 3 ] do
                    position <- asWritten written position (numbered start count)

                Expect.isTrue (fails (fun () -> asWritten written position (numbered 7 4))) "the batch after it"

                use ours = new FeatureQueue(torch.zeros (8L, 2L, dtype = torch.float64))

                for start, count in [ 0, 4; 4, 3; 7, 4 ] do
                    ours.Enqueue(numbered start count)

                Expect.equal
                    (doubles (ours.Rows.narrow (1L, 0L, 1L)))
                    [| 8.; 9.; 10.; 3.; 4.; 5.; 6.; 7. |]
                    "the last eight"
            }

            test "erratum 6: plain batch norm lets a blind network solve the task, shuffled chunks do not" {
                do
                    use scope = torch.NewDisposeScope()
                    use encoder = new BlindEncoder(64)
                    let h = encoder.call ((blackCorner 1L 8L 64L).First())
                    Expect.isTrue (torch.allclose (h, h.narrow(0L, 0L, 1L).expand h.shape)) "the same for all images"

                let asWritten, chance = blindLoss 1 false
                let split, _ = blindLoss 8 false
                let ours, _ = blindLoss 8 true
                Expect.isLessThan asWritten (0.1 * chance) "one chunk: query and key carry the mark of their batch"
                Expect.isLessThan split (0.1 * chance) "chunks in the same order: the mark of their chunk"
                Expect.isGreaterThan ours (0.8 * chance) "shuffled: a query's chunk shares few images with its key's"
            }
        ]

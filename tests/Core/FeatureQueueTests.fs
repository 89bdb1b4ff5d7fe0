module Tests.Core.FeatureQueueTests

open System
open System.Collections.Generic
open Expecto
open TorchSharp
open SslResearch.Core.Methods
open Tests.Support
open Tests.Support.Networks

let private width = 3

/// Row number `i` of all that ever were: recognisable, of unit length.
let private row i =
    let v = [| 1. + float (i % 7); float (i % 11); float i |]
    let length = sqrt (Array.sumBy (fun x -> x * x) v)
    v |> Array.map (fun x -> x / length)

let private rows from count =
    tensor [| int64 count; int64 width |] (Array.collect row [| from .. from + count - 1 |])

/// Oldest first.
let private inOrder (queue: FeatureQueue) =
    let all = doubles queue.Rows |> Array.chunkBySize (int queue.Rows.shape[1])
    let position = int (queue.Position.item<int64>())
    Array.append all[position..] all[.. position - 1]

[<Tests>]
let tests =
    testList
        "feature queue"
        [
            test "it holds what a list cut to K holds, for any K and batch sizes" {
                for size in [ 1; 2; 5; 8; 13 ] do
                    for batches in
                        [
                            [ 1; 1; 1 ]
                            [ 4; 4; 4; 4 ]
                            [ 3; 7; 2; 5; 1 ]
                            [ 8; 5; 8; 13; 9 ]
                            [ 27; 1; 30 ]
                        ] do
                        use scope = torch.NewDisposeScope()
                        use queue = new FeatureQueue(rows 0 size)
                        let list = List<float[]>(Array.map row [| 0 .. size - 1 |])
                        let mutable next = size

                        for batch in batches do
                            queue.Enqueue(rows next batch)
                            list.AddRange(Array.map row [| next .. next + batch - 1 |])
                            list.RemoveRange(0, list.Count - size)
                            next <- next + batch
                            Expect.equal (inOrder queue) (list.ToArray()) $"K {size}, batch {batch} of {batches}"

                            Expect.equal
                                (queue.Position.item<int64>())
                                (int64 ((next - size) % size))
                                "the position counts all rows"
            }

            test "its first rows are unit vectors, a function of the seed, the same in a longer queue" {
                use scope = torch.NewDisposeScope()

                let queue size seed =
                    FeatureQueue.Random(size, 8, seed, torch.CPU)

                use first = queue 500 7UL
                use again = queue 500 7UL
                use other = queue 500 8UL
                use longer = queue 600 7UL
                Expect.equal (doubles first.Rows) (doubles again.Rows) "the same seed"
                Expect.notEqual (doubles first.Rows) (doubles other.Rows) "another seed"
                Expect.equal (doubles first.Rows) (doubles (longer.Rows.narrow (0L, 0L, 500L))) "longer"
                Expect.equal first.Rows.dtype torch.float32 "dtype"

                for length in doubles (first.Rows.norm 1) do
                    Expect.isLessThan (abs (length - 1.)) 1e-6 "length"

                let mean = doubles (first.Rows.mean [| 0L |])
                Expect.all mean (fun m -> abs m < 4. / sqrt (8. * 500.)) $"no direction is preferred: {mean}"
            }

            test "the tensors stay the same objects, so that a checkpoint and a loss see every change" {
                use scope = torch.NewDisposeScope()
                use queue = new FeatureQueue(rows 0 4)
                let state = queue.State
                queue.Enqueue(rows 4 6)
                Expect.isTrue (Object.ReferenceEquals(state["queue"], queue.Rows)) "rows"
                Expect.equal (state["queue_position"].item<int64>()) 2L "position"
                Expect.equal (List.sort (List.ofSeq state.Keys)) [ "queue"; "queue_position" ] "names"
            }

            test "restored tensors go on as if never interrupted" {
                use scope = torch.NewDisposeScope()
                use whole = new FeatureQueue(rows 0 5)
                use stopped = new FeatureQueue(rows 0 5)
                whole.Enqueue(rows 5 7)
                stopped.Enqueue(rows 5 7)
                let saved = dict [ for p in stopped.State -> p.Key, p.Value.clone () ]
                use resumed = FeatureQueue.Random(5, width, 1UL, torch.CPU)
                use target = new FeatureQueue(resumed.Rows.``to`` torch.float64)

                for p in target.State do
                    p.Value.copy_ (saved[p.Key]) |> ignore

                whole.Enqueue(rows 12 4)
                target.Enqueue(rows 12 4)
                Expect.equal (doubles target.Rows) (doubles whole.Rows) "rows"
                Expect.equal (target.Position.item<int64>()) (whole.Position.item<int64>()) "position"
            }

            test "the nearest row is the one of greatest cosine" {
                use scope = torch.NewDisposeScope()
                use queue = FeatureQueue.Random(40, 5, 3UL, torch.CPU)
                use asked = FeatureQueue.Random(12, 5, 4UL, torch.CPU)
                let all = doubles queue.Rows |> Array.chunkBySize 5

                let expected =
                    doubles asked.Rows
                    |> Array.chunkBySize 5
                    |> Array.collect (fun a ->
                        all |> Array.maxBy (fun b -> Array.fold2 (fun s x y -> s + x * y) 0. a b))

                let got = queue.Nearest(asked.Rows.detach().requires_grad_())
                Expect.equal (doubles got) expected "neighbours"
                Expect.isFalse got.requires_grad "targets"
            }

            test "it outlives the scope it was made in, leaves nothing behind, and disposing frees it" {
                let build () =
                    use scope = torch.NewDisposeScope()
                    FeatureQueue.Random(5, width, 1UL, torch.CPU)

                use scope = torch.NewDisposeScope()
                let batch = torch.rand (4L, 3L)
                let queue = build ()
                queue.Enqueue batch
                let before = LiveTensors.settled ()

                for _ in 1..3 do
                    queue.Enqueue batch
                    use nearest = queue.Nearest batch
                    ignore nearest

                Expect.equal torch.Tensor.TotalCount before "live tensors"
                queue.Dispose()
                Expect.isTrue (queue.Rows.IsInvalid && queue.Position.IsInvalid) "freed"
            }

            test "impossible sizes are refused" {
                use scope = torch.NewDisposeScope()

                let refused what (expected: string) (f: unit -> unit) =
                    try
                        f ()
                        failtest $"{what}: accepted"
                    with :? ArgumentException as e ->
                        Expect.stringContains e.Message expected what

                refused "empty" "received 0 of 3" (fun () -> FeatureQueue.Random(0, 3, 1UL, torch.CPU).Dispose())
                refused "a vector" "received (4)" (fun () -> (new FeatureQueue(torch.zeros 4L)).Dispose())
                use queue = FeatureQueue.Random(4, 3, 1UL, torch.CPU)
                refused "width" "expected (M, 3), received (2, 2)" (fun () -> queue.Enqueue(torch.zeros (2L, 2L)))
            }
        ]

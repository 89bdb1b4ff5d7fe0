/// Verdicts on embeddings of every small width and batch.
module Tests.Core.CollapseWidthTests

open System
open Expecto
open TorchSharp
open SslResearch.Core.Runtime
open SslResearch.Core.Training

/// A training whose every report looks at such embeddings.
let private history (draw: int -> torch.Tensor) =
    [|
        for i in 0..39 do
            use scope = torch.NewDisposeScope()
            let e = draw i

            ReportPoint(
                int64 i,
                0,
                1.,
                0.1,
                Diagnostics.Deviation e,
                Diagnostics.RankMe e,
                Dimensions = float (min e.shape[0] e.shape[1])
            )
    |]

let private normal seed rows width =
    let mutable random = Philox(uint64 seed, RandomPurpose.Evaluation)
    torch.tensor([| for _ in 1 .. rows * width -> random.NextGaussian() |]).reshape(int64 rows, int64 width)

let private learns what (points: ReportPoint[]) =
    Expect.equal (Diagnostics.Judge(points, null)) Verdict.Learned what
    Expect.isFalse (Diagnostics.IsEstablished(points, null)) $"{what}: established"

let private collapsed verdicts what (points: ReportPoint[]) =
    Expect.contains verdicts (Diagnostics.Judge(points, null)) what
    Expect.isTrue (Diagnostics.IsEstablished(points, null)) $"{what}: established"
    Expect.equal (Diagnostics.CollapsedSince(points, null)) (Nullable 0L) $"{what}: since"

let private sizes =
    [
        for width in 1..8 do
            for rows in 2..16 -> width, rows
    ]

[<Tests>]
let tests =
    testList
        "collapse at every width"
        [
            test "points evenly on a circle have not collapsed" {
                for rows in 3..16 do
                    let circle =
                        Array.init (2 * rows) (fun i ->
                            let angle = 2. * Math.PI * float (i / 2) / float rows
                            if i % 2 = 0 then cos angle else sin angle)

                    let points = history (fun _ -> torch.tensor(circle).reshape(int64 rows, 2L))
                    learns $"{rows} points" points
                    Expect.isNull (box (Diagnostics.CollapsedSince(points, null))) $"{rows} points: since"
            }

            test "directions that are orthogonal to each other have not collapsed" {
                for width, rows in sizes do
                    if width > 1 then
                        let axes = Array.init (rows * width) (fun i -> if i / width % width = i % width then 1. else 0.)

                        learns
                            $"{rows} × {width}"
                            (history (fun _ -> torch.tensor(axes).reshape(int64 rows, int64 width)))
            }

            test "normal and whitened embeddings have not collapsed" {
                for width, rows in sizes do
                    if width > 1 then
                        learns $"{rows} × {width}" (history (fun i -> normal (1000 * width + 50 * rows + i) rows width))

                    if width > 1 && rows > width then
                        learns
                            $"whitened {rows} × {width}"
                            (history (fun i ->
                                let struct (q, _) = torch.linalg.qr (normal (70 * width + i) rows width)
                                q))
            }

            test "equal embeddings have collapsed, at every width" {
                for width, rows in sizes do
                    collapsed
                        [ Verdict.Collapsed ]
                        $"{rows} × {width}"
                        (history (fun i -> (normal i 1 width).expand(int64 rows, int64 width)))
            }

            test "embeddings on one line have collapsed, but where there is no more than a line" {
                for width, rows in sizes do
                    let line =
                        history (fun i ->
                            let sides = torch.tensor ([| for r in 0 .. rows - 1 -> if r % 2 = 0 then 1. else -1. |])

                            sides.unsqueeze(1L).mul(normal i 1 width))

                    if width = 1 then
                        learns $"{rows} × 1" line
                    else
                        collapsed [ Verdict.Collapsed; Verdict.CollapsedDimensions ] $"{rows} × {width}" line
            }

            test "the least rank grows with what is reachable, and is the same as ever from eight dimensions on" {
                let least = Diagnostics.LeastRank
                Expect.equal (least 1.) 0. "one"

                for d in 2..7 do
                    Expect.isTrue (least (float d) > 1. && least (float d) < least (float (d + 1))) $"{d}"

                for d in [ 8.; 64.; 66. ] do
                    Expect.equal (least d) 2. $"{d}"

                Expect.equal (least 512.) (0.03 * 512.) "512"
                Expect.equal (least nan) 2. "unknown"
            }
        ]

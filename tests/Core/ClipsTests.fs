/// Clips as data and as views: film strips, shapes in motion, the same augmentation for every frame.
module Tests.Core.ClipsTests

open System
open System.IO
open System.Runtime.InteropServices
open Expecto
open TorchSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data
open SslResearch.Core.Runtime
open SslResearch.Core.Views
open Tests.Support.DataFiles

let private message f =
    try
        f () |> ignore
        ""
    with
    | :? ArgumentException as e -> e.Message
    | :? DataException as e -> e.Message

let private options count frames =
    ShapesClipsOptions(count, 16, frames, 4UL, "train")

let private strips =
    testList
        "film strips"
        [
            test "the number of frames is height over width" {
                let strip = FrameStrip.Of(5, 12, 3)
                Expect.equal strip (ImageShape(60, 12, 3)) "strip"
                Expect.equal (FrameStrip.Frames strip) 5 "frames"
                Expect.equal (FrameStrip.Frame strip) (ImageShape(12, 12, 3)) "frame"
            }

            test "still images and broken heights are no clips" {
                for shape in [ ImageShape(12, 12, 3); ImageShape(30, 12, 3); ImageShape(12, 24, 3) ] do
                    Expect.stringContains (message (fun () -> FrameStrip.Frames shape)) "no clips" $"{shape}"
            }
        ]

/// Distance of two frames of a clip, in bytes.
let private apart (store: ImageStore) index first second =
    let frame = FrameStrip.Frame(store.Shape).Bytes
    let pixels = store.Pixels(index).ToArray()
    let at t = Array.sub pixels (t * frame) frame
    Array.map2 (fun (a: byte) (b: byte) -> abs (int a - int b)) (at first) (at second)

let private motions = [ for i in 0L .. 399L -> ShapeMotion.Draw(4UL, "train", i) ]

let private motion =
    testList
        "shapes in motion"
        [
            test "a clip depends on seed, split and position only" {
                use long = ShapesClips.Render(options 60 4)
                use short = ShapesClips.Render(options 20 4)
                use other = ShapesClips.Render(ShapesClipsOptions(20, 16, 4, 5UL, "train"))
                use test = ShapesClips.Render(ShapesClipsOptions(20, 16, 4, 4UL, "test"))

                for i in 0L .. 19L do
                    let pixels = long.Pixels(i).ToArray()
                    Expect.equal (short.Pixels(i).ToArray()) pixels "count makes no difference"
                    Expect.notEqual (other.Pixels(i).ToArray()) pixels "seed"
                    Expect.notEqual (test.Pixels(i).ToArray()) pixels "split"

                    let drawn = Array.zeroCreate<byte>(16 * 16 * 3)

                    for t in 0..3 do
                        (ShapeMotion.Draw(4UL, "train", i)).Render(t, 16, drawn)

                        Expect.equal
                            drawn
                            (Array.sub pixels (t * drawn.Length) drawn.Length)
                            "threads make no difference"
            }

            test "the first clips are these, on every machine" {
                use store = ShapesClips.Render(options 40 5)

                Expect.equal
                    store.Fingerprint
                    "8866f251e00175ffa70b7546bc12fa4cc1633df238087820c294f9f01079f882"
                    "fingerprint of 40 clips of five frames of 16 pixels, seed 4"
            }

            test "a longer clip begins with the shorter one, and all begin with the still image" {
                use short = ShapesClips.Render(options 30 3)
                use long = ShapesClips.Render(options 30 6)
                use stills = ShapesDataset.Render(ShapesOptions(30, 16, 4UL, "train"))

                for i in 0L .. 29L do
                    let strip = short.Pixels(i).ToArray()
                    Expect.equal (long.Pixels(i).Slice(0, strip.Length).ToArray()) strip "beginning"
                    Expect.equal (short.Label i) (stills.Label i) "label"

                    if isNull (ShapeMotion.Draw(4UL, "train", i)).Occluder then
                        Expect.equal (Array.sub strip 0 768) (stills.Pixels(i).ToArray()) "first frame"

                Expect.equal short.Shape (ImageShape(48, 16, 3)) "strip"
                Expect.equal (List.ofSeq short.ClassNames) (List.ofSeq ShapesDataset.ClassNames) "classes"
            }

            test "the object goes straight on until it bounces, stays inside, and turns evenly" {
                for m in motions do
                    let reach = 0.44 * m.Start.Size
                    let mutable x, y, vx, vy = m.Start.X, m.Start.Y, m.VelocityX, m.VelocityY

                    // Step by step, where the pose is computed at once.
                    let step position velocity =
                        let next = position + velocity

                        if next < reach then
                            2. * reach - next, -velocity
                        elif next > 1. - reach then
                            2. * (1. - reach) - next, -velocity
                        else
                            next, velocity

                    for t in 0..20 do
                        let scene = m.Scene(float t)
                        Expect.floatClose Accuracy.high scene.X x "x"
                        Expect.floatClose Accuracy.high scene.Y y "y"
                        Expect.floatClose Accuracy.high scene.Rotation (m.Start.Rotation + float t * m.Turn) "turn"

                        Expect.isTrue
                            (scene.X >= reach - 1e-9
                             && scene.X <= 1. - reach + 1e-9
                             && scene.Y >= reach - 1e-9)
                            "inside"

                        let nextX, nextVx = step x vx
                        let nextY, nextVy = step y vy
                        x <- nextX
                        vx <- nextVx
                        y <- nextY
                        vy <- nextVy

                    let speed = sqrt (m.VelocityX ** 2. + m.VelocityY ** 2.)
                    Expect.isTrue (speed >= 0.03 - 1e-9 && speed <= 0.09 + 1e-9) "speed"

                let bounces =
                    motions
                    |> List.filter (fun m ->
                        let sign (a: float) = a > 0.
                        let early, late = m.Scene 0.5, m.Scene 7.5
                        sign (early.X - (m.Scene 0.).X) <> sign (late.X - (m.Scene 7.).X))

                Expect.isGreaterThan bounces.Length 40 "bounces happen"
            }

            test "the background stands still: what changes lies where the object or its occluder is or was" {
                use store = ShapesClips.Render(options 60 5)
                let mask = Array.zeroCreate<byte>(16 * 16)
                let mutable moved = 0

                for i in 0L .. 59L do
                    let m = ShapeMotion.Draw(4UL, "train", i)

                    let covered t =
                        ShapesRenderer.Mask(m.Scene(float t), 16, mask)

                        Array.init 256 (fun p ->
                            mask[p] > 0uy
                            || match m.Occluder with
                               | null -> false
                               | o ->
                                   o.Coverage((float (p % 16) + 0.5) / 16., (float (p / 16) + 0.5) / 16., t, 16) > 0.)

                    for t in 1..4 do
                        let change = apart store i (t - 1) t
                        let here = Array.map2 (||) (covered (t - 1)) (covered t)

                        for p in 0..255 do
                            // A pixel that is hardly touched has no mask, but may be rounded otherwise.
                            let changed = Array.max change[3 * p .. 3 * p + 2] > 1

                            if changed then
                                moved <- moved + 1
                                Expect.isTrue here[p] $"clip {i}, frame {t}, pixel {p}"

                Expect.isGreaterThan moved 2000 "something moves"
            }

            test "half of the clips have an occluder, which often stands in front of the object" {
                let occluded = motions |> List.filter (fun m -> not (isNull m.Occluder))
                let part = float occluded.Length / float motions.Length
                Expect.isLessThan (abs (part - 0.5)) 0.08 "half"
                let discs = occluded |> List.filter (fun m -> m.Occluder.IsDisc)
                Expect.isTrue (discs.Length > 50 && occluded.Length - discs.Length > 50) "discs and bars"

                let standing =
                    occluded
                    |> List.filter (fun m -> m.Occluder.VelocityX = 0. && m.Occluder.VelocityY = 0.)

                Expect.isTrue (standing.Length > 50 && occluded.Length - standing.Length > 50) "standing and drifting"

                let meets (m: ShapeMotion) =
                    [ 0..7 ]
                    |> List.exists (fun t ->
                        let scene = m.Scene(float t)
                        m.Occluder.Coverage(scene.X, scene.Y, t, 32) > 0.5)

                let met = occluded |> List.filter meets |> List.length
                Expect.isGreaterThan met (occluded.Length / 3) "over the object's middle in some frame"
            }

            test "rendered once into a pack, made again when the pack is damaged" {
                withFolder (fun root ->
                    let options = options 20 3
                    use memory = ShapesClips.Render options
                    let path = ShapesClips.PackPath(options, root)

                    let opened () =
                        use store = ShapesClips.Open(options, root)
                        Expect.equal (store.ComputeFingerprint()) memory.Fingerprint "content"
                        Expect.equal (store.Name, store.Split, store.Count) ("shapes-in-motion", "train", 20) "header"

                    opened ()
                    let written = File.GetLastWriteTimeUtc path
                    opened ()
                    Expect.equal (File.GetLastWriteTimeUtc path) written "not rendered again"
                    truncate 0.5 path |> ignore
                    opened ()
                    Expect.hasLength (filesBelow root) 1 "one pack, no temporaries")
            }

            test "impossible clips are refused" {
                for count, size, frames, split in
                    [
                        0, 16, 4, "train"
                        4, 4, 4, "train"
                        4, 16, 1, "train"
                        4, 1024, 64, "train"
                        4, 16, 4, " "
                    ] do
                    Expect.stringContains
                        (message (fun () -> ShapesClips.Render(ShapesClipsOptions(count, size, frames, 0UL, split))))
                        "Shapes in motion need"
                        $"{count} {size} {frames}"
            }
        ]

let private noise seed (s: ImageShape) =
    let mutable g = Philox(seed, RandomPurpose.Evaluation)
    Array.init s.Bytes (fun _ -> byte (g.NextUInt32() >>> 24))

let private normalisation = ChannelNormalisation([| 0.4f; 0.5f; 0.6f |], [| 0.2f; 0.25f; 0.3f |])

let private ops: ViewOp list =
    [
        ResizedCrop(0.3, 1., 0.75, 4. / 3., 12, 12, Interpolation.Bilinear)
        Flip 0.5
        Jitter(0.4, 0.4, 0.4, 0.1, 0.8)
        Gray 0.3
    ]

let private frame = ImageShape(20, 20, 3)

let private sample (pixels: byte[]) index slot =
    Sample(Pixels = ReadOnlySpan pixels, Label = 0, Seed = 9UL, Epoch = 2, Index = index, Slot = slot)

/// The buffer of a batch of these clips.
let private batch (augmenter: ClipAugmenter) (clips: byte[][]) =
    let spec = augmenter.Buffers[0]
    let buffer = Array.zeroCreate<float32>(clips.Length * int spec.RowElements)
    let handle = GCHandle.Alloc(buffer, GCHandleType.Pinned)

    try
        let memory = BatchMemory([| handle.AddrOfPinnedObject() |], augmenter.Buffers, Count = clips.Length)

        for i, pixels in Array.indexed clips do
            let s = sample pixels (100L + int64 i) i
            augmenter.Render(&s, memory)
    finally
        handle.Free()

    buffer

let private views =
    testList
        "clip views"
        [
            test "every frame of a clip is changed by the one draw of its clip" {
                let pipeline = ViewPipeline(frame, List.toArray ops, normalisation)
                let augmenter = ClipAugmenter(pipeline, 3)
                Expect.equal (List.ofSeq augmenter.Buffers[0].RowShape) [ 3L; 3L; 12L; 12L ] "row"
                let clips = Array.init 4 (fun i -> noise (uint64 i) (FrameStrip.Of(3, 20, 3)))
                let got = batch augmenter clips |> Array.chunkBySize pipeline.OutputFloats

                for i in 0..3 do
                    let mutable draw = pipeline.Draw(9UL, 2, 100L + int64 i, 0)

                    for t in 0..2 do
                        let view = Array.zeroCreate<float32> pipeline.OutputFloats
                        pipeline.Render(ReadOnlySpan(clips[i], t * frame.Bytes, frame.Bytes), &draw, Span view)
                        Expect.equal got[i * 3 + t] view $"clip {i}, frame {t}"
            }

            test "a film that stands still stays so" {
                let augmenter = ClipAugmenter(ViewPipeline(frame, List.toArray ops, normalisation), 4)
                let still = noise 7UL frame

                let rows =
                    batch augmenter [| Array.concat (List.replicate 4 still) |]
                    |> Array.chunkBySize 432

                Expect.allEqual rows rows[0] "frames"
            }

            test "rendering allocates nothing" {
                let augmenter = ClipAugmenter(ViewPipeline(frame, List.toArray ops, normalisation), 3)
                let pixels = noise 3UL (FrameStrip.Of(3, 20, 3))
                let buffer = Array.zeroCreate<float32>(int augmenter.Buffers[0].RowElements)
                let handle = GCHandle.Alloc(buffer, GCHandleType.Pinned)

                try
                    let memory = BatchMemory([| handle.AddrOfPinnedObject() |], augmenter.Buffers, Count = 1)

                    let go n =
                        for i in 0..n do
                            let s = sample pixels (int64 i) 0
                            augmenter.Render(&s, memory)

                    go 300
                    let before = GC.GetAllocatedBytesForCurrentThread()
                    go 300
                    Expect.equal (GC.GetAllocatedBytesForCurrentThread() - before) 0L "bytes"
                finally
                    handle.Free()
            }

            test "wrong shapes are refused" {
                let pipeline = ViewPipeline(frame, [||], normalisation)
                Expect.stringContains (message (fun () -> ClipAugmenter(pipeline, 1))) "at least 2" "one frame"

                Expect.stringContains
                    (message (fun () -> batch (ClipAugmenter(pipeline, 3)) [| noise 1UL (FrameStrip.Of(2, 20, 3)) |]))
                    "expected 3 frames of 20x20x3"
                    "a shorter clip"

                use four = torch.zeros (3L, 3L, 8L, 8L)
                use one = torch.zeros [| 3L; 1L; 3L; 8L; 8L |]

                for wrong in [ four; one ] do
                    Expect.stringContains (message (fun () -> Clip wrong)) "(N, T, C, H, W)" "view"
            }
        ]

[<Tests>]
let tests = testList "clips" [ strips; motion; views ]

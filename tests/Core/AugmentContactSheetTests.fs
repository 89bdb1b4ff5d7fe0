module Tests.Core.AugmentContactSheetTests

open System
open System.IO
open Expecto
open SkiaSharp
open SslResearch.Core.Augment
open SslResearch.Core.Data

let private store (shape: ImageShape) =
    let pixels = Array.init (6 * shape.Bytes) (fun i -> byte (i * 37 + i / 64 * 11))
    ImageStore.FromMemory("numbers", shape, pixels, [| 0..5 |], [| for i in 0..5 -> $"class {i}" |], "train")

let private pipeline (shape: ImageShape) ops =
    let one = Array.create shape.Channels 0.5f
    ViewPipeline(shape, ops, ChannelNormalisation(one, one))

let private options indices =
    ContactSheetOptions("a title", indices, 1UL, [| 0; 3 |])

let private crop size =
    ResizedCrop(0.2, 1., 0.75, 4. / 3., size, size, Interpolation.Bilinear) :> ViewOp

[<Tests>]
let tests =
    testList
        "contact sheet"
        [
            test "shows the stored pixels and the views" {
                for channels in [ 1; 3 ] do
                    let shape = ImageShape(16, 16, channels)
                    use store = store shape

                    let png =
                        ContactSheet.Png(
                            store,
                            [| pipeline shape [||]; pipeline shape [| Flip 1. |] |],
                            options [| 2L |]
                        )

                    use bitmap = SKBitmap.Decode png
                    let pixels = store.Pixels(2L).ToArray()
                    let cell, step, top = 16 * 12, 16 * 12 + 8 + 16, 32 + 33 + 16 + 22 + 4

                    for y in 0..15 do
                        for x in 0..15 do
                            let at k x =
                                bitmap.GetPixel(32 + 4 + k * step + x * 12 + 6, top + y * 12 + 6)

                            let value c =
                                pixels[(y * 16 + x) * channels + (if channels = 1 then 0 else c)]

                            let expected = SKColor(value 0, value 1, value 2)
                            Expect.equal (at 0 x) expected "original"
                            Expect.equal (at 1 x) expected "view without operations"
                            Expect.equal (at 2 (15 - x)) expected "mirrored view"

                    Expect.equal bitmap.Width (2 * 32 + 5 * (cell + 8) + 4 * 16) "an original, two views in two epochs"
            }

            test "is the same file for the same arguments, written whole" {
                let shape = ImageShape(20, 30, 3)
                use store = store shape
                let views = [| pipeline shape [| crop 24; Jitter(0.4, 0.4, 0.4, 0.1, 0.8); Gray 0.5 |] |]
                let folder = Path.Combine(Path.GetTempPath(), $"sheet-{Guid.NewGuid()}")
                let path = Path.Combine(folder, "deeper", "sheet.png")

                try
                    ContactSheet.Write(path, store, views, options [| 0L; 5L |])
                    Expect.equal (File.ReadAllBytes path) (ContactSheet.Png(store, views, options [| 0L; 5L |])) "bytes"
                    Expect.equal (Directory.GetFiles(Path.GetDirectoryName path)).Length 1 "nothing beside it"
                    use bitmap = SKBitmap.Decode path

                    let ink = SKColor(0x22uy, 0x26uy, 0x2Buy)
                    let isInk x y = bitmap.GetPixel(x, y) = ink

                    Expect.isTrue
                        (Seq.exists (fun x -> Seq.exists (isInk x) (seq { 30..60 })) (seq { 30..200 }))
                        "the title was drawn without any font installed"
                finally
                    Directory.Delete(folder, true)
            }

            test "an image that is not there is an error" {
                let shape = ImageShape(8, 8, 3)
                use store = store shape

                Expect.throwsT<ArgumentException>
                    (fun () -> ContactSheet.Png(store, [| pipeline shape [||] |], options [| 6L |]) |> ignore)
                    "beyond the end"
            }

            test "the font wraps at words" {
                Expect.equal
                    (List.ofSeq (BitmapFont.Wrap("jitter b1.00 c2.00", 12)))
                    [ "jitter b1.00"; "c2.00" ]
                    "two lines"

                Expect.equal (List.ofSeq (BitmapFont.Wrap("unbreakable", 4))) [ "unbreakable" ] "a long word"
                Expect.equal (Seq.length (BitmapFont.Dots "1")) 10 "dots of a one"
            }
        ]

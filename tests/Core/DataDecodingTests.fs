module Tests.Core.DataDecodingTests

open System
open System.Buffers.Binary
open System.Diagnostics
open System.IO
open System.IO.Compression
open System.Text
open System.Threading
open BitMiracle.LibTiff.Classic
open Expecto
open SkiaSharp
open SslResearch.Core.Data
open Tests.Support
open Tests.Support.DataFiles
open Tests.Support.Refusals

let private budgetBytes = 1L <<< 28

/// Decodes, and checks that all memory was given back.
let private decodeWith ignoreOrientation (file: byte[]) =
    let budget = ByteBudget budgetBytes
    let decoder = ImageDecoder(ignoreOrientation, budget, 0L)
    let mutable problem = null

    let result =
        use bytes = new NativeBytes(file.Length, 0L, budget, CancellationToken.None)
        file.CopyTo bytes.Span
        use pixels = decoder.Decode(bytes, CancellationToken.None, &problem)

        if isNull pixels then
            Error problem
        else
            Ok(pixels.Shape, pixels.Span.ToArray())

    use soon = new CancellationTokenSource(TimeSpan.FromSeconds 10.)
    budget.Take(budgetBytes, soon.Token)
    result

let private decode file = decodeWith false file

let private pixelsOf name file =
    match decode file with
    | Ok(_, pixels) -> pixels
    | Error problem -> failtest $"{name}: {problem}"

let private height, width = 16, 24

let private colour row column =
    byte (column * 10), byte (row * 15), byte (row * column * 3)

let private bitmap () =
    let bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque)

    for row in 0 .. height - 1 do
        for column in 0 .. width - 1 do
            let r, g, b = colour row column
            bitmap.SetPixel(column, row, SKColor(r, g, b))

    bitmap

let private rgb =
    [|
        for row in 0 .. height - 1 do
            for column in 0 .. width - 1 do
                let r, g, b = colour row column
                r
                g
                b
    |]

let private encoded format quality =
    use bitmap = bitmap ()
    use data = bitmap.Encode(format, quality)
    data.ToArray()

let private jpeg = lazy encoded SKEncodedImageFormat.Jpeg 95
let private pngFile = lazy encoded SKEncodedImageFormat.Png 100

let private webp =
    lazy
        (use bitmap = bitmap ()
         use pixels = bitmap.PeekPixels()
         use data = pixels.Encode(SKWebpEncoderOptions(SKWebpEncoderCompression.Lossless, 75f))
         data.ToArray())

let private ascii (text: string) = Encoding.ASCII.GetBytes text
let private big (n: int) = BitConverter.GetBytes n |> Array.rev
let private little (n: int) = BitConverter.GetBytes n
let private short (n: int) = BitConverter.GetBytes(uint16 n)

let private pngChunk (kind: string) (data: byte[]) =
    let body = Array.append (ascii kind) data
    Array.concat [ big data.Length; body; big (int (Crc32.Of(ReadOnlySpan body, 0u))) ]

/// A PNG from its rows, each without its filter byte.
let private pngOf (h: int) (w: int) bits kind (chunks: byte[] list) (row: int -> byte[]) =
    let packed = new MemoryStream()

    using (new ZLibStream(packed, CompressionLevel.Fastest, true)) (fun z ->
        for r in 0 .. h - 1 do
            z.WriteByte 0uy
            z.Write(row r))

    Array.concat
        [
            [| 0x89uy |]
            ascii "PNG\r\n\026\n"
            pngChunk "IHDR" (Array.concat [ big w; big h; [| bits; kind; 0uy; 0uy; 0uy |] ])
            Array.concat chunks
            pngChunk "IDAT" (packed.ToArray())
            pngChunk "IEND" [||]
        ]

let private palette: (byte * byte * byte)[] =
    [| 200uy, 10uy, 10uy; 10uy, 200uy, 10uy; 10uy, 10uy, 200uy; 99uy, 98uy, 97uy |]

let private paletteBytes =
    [|
        for r, g, b in palette do
            r
            g
            b
    |]

let private blocks (data: byte[]) =
    Array.concat
        [
            for piece in Array.chunkBySize 255 data do
                [| byte piece.Length |]
                piece
            [| 0uy |]
        ]

/// A GIF of four colours whose LZW data clear the table before codes grow beyond three bits.
let private gifOf
    (canvas: int * int)
    (frame: int * int * int * int)
    interlaced
    (transparent: int option)
    (entries: byte[])
    =
    let codes =
        [
            for pair in Array.chunkBySize 2 entries do
                4
                yield! Seq.map int pair
            5
        ]

    let bits = codes |> List.collect (fun c -> [ for i in 0..2 -> (c >>> i) &&& 1 ])

    let data =
        bits
        |> List.chunkBySize 8
        |> List.map (List.mapi (fun i b -> b <<< i) >> List.sum >> byte)
        |> List.toArray

    let left, top, w, h = frame

    Array.concat
        [
            ascii "GIF89a"
            short (fst canvas)
            short (snd canvas)
            [| 0x81uy; 0uy; 0uy |]
            paletteBytes
            match transparent with
            | Some t -> [| 0x21uy; 0xF9uy; 4uy; 1uy; 0uy; 0uy; byte t; 0uy |]
            | None -> [||]
            [| 0x2Cuy |]
            short left
            short top
            short w
            short h
            [| (if interlaced then 0x40uy else 0uy); 2uy |]
            blocks data
            [| 0x3Buy |]
        ]

let private entriesOf h w =
    [|
        for row in 0 .. h - 1 do
            for column in 0 .. w - 1 -> byte ((row * 3 + column) % 4)
    |]

let private coloursOf (entries: byte[]) =
    [|
        for e in entries do
            let r, g, b = palette[int e]
            r
            g
            b
    |]

let private gif = lazy gifOf (width, height) (0, 0, width, height) false None (entriesOf height width)

let private bmpOf w h bits compression (colours: (byte * byte * byte)[]) declared (data: byte[]) =
    let table =
        [|
            for r, g, b in colours do
                b
                g
                r
                0uy
        |]

    let start = 54 + table.Length

    Array.concat
        [
            ascii "BM"
            little (start + data.Length)
            little 0
            little start
            little 40
            little w
            little h
            short 1
            short bits
            little compression
            little data.Length
            little 0
            little 0
            little declared
            little 0
            table
            data
        ]

let private bmp24 =
    lazy
        (bmpOf
            width
            height
            24
            0
            [||]
            0
            [|
                for row in height - 1 .. -1 .. 0 do
                    for column in 0 .. width - 1 do
                        let r, g, b = colour row column
                        b
                        g
                        r
            |])

/// A TIFF that the library writes, in strips of five rows or tiles of sixteen pixels.
let private tiffOf
    (compression: Compression)
    (photometric: Photometric)
    bits
    samples
    tiled
    (fields: (TiffTag * obj[]) list)
    (row: int -> byte[])
    =
    use memory = new MemoryStream()
    use tiff = Tiff.ClientOpen("test", "w", memory, TiffStream())
    let set (tag: TiffTag) (value: obj) = tiff.SetField(tag, value) |> ignore
    set TiffTag.IMAGEWIDTH width
    set TiffTag.IMAGELENGTH height
    set TiffTag.BITSPERSAMPLE bits
    set TiffTag.SAMPLESPERPIXEL samples
    set TiffTag.PHOTOMETRIC photometric
    set TiffTag.COMPRESSION compression
    set TiffTag.PLANARCONFIG PlanarConfig.CONTIG

    if tiled then
        set TiffTag.TILEWIDTH 16
        set TiffTag.TILELENGTH 16
    else
        set TiffTag.ROWSPERSTRIP (if compression = Compression.JPEG then 8 else 5)

    for tag, values in fields do
        tiff.SetField(tag, values) |> ignore

    if tiled then
        let bytes = samples * bits / 8

        for left in [ 0; 16 ] do
            let tile = Array.zeroCreate<byte>(16 * 16 * bytes)

            for r in 0..15 do
                let count = min 16 (width - left) * bytes
                Array.blit (row r) (left * bytes) tile (r * 16 * bytes) count

            tiff.WriteTile(tile, left, 0, 0, 0s) |> ignore
    else
        for r in 0 .. height - 1 do
            tiff.WriteScanline(row r, r) |> ignore

    tiff.Flush() |> ignore
    memory.ToArray()

let private rgbRow r =
    rgb[r * width * 3 .. (r + 1) * width * 3 - 1]

let private tiff = lazy tiffOf Compression.LZW Photometric.RGB 8 3 false [] rgbRow

let private files =
    [
        "JPEG", jpeg
        "PNG", pngFile
        "GIF", gif
        "WebP", webp
        "BMP", bmp24
        "BMP with runs",
        lazy
            (bmpOf
                width
                height
                8
                1
                palette
                4
                (Array.concat
                    [
                        for r in 0 .. height - 1 do
                            [| byte width; byte (r % 4); 0uy; 0uy |]
                        [| 0uy; 1uy |]
                    ]))
        "TIFF", tiff
    ]

/// A TIFF header and a directory with the orientation alone: what Exif blocks are.
let private exif (orientation: int) =
    Array.concat
        [
            ascii "II*\000"
            little 8
            short 1
            short 0x112
            short 3
            little 1
            short orientation
            short 0
            little 0
        ]

let private oriented orientation =
    let file = jpeg.Value
    let block = Array.append (ascii "Exif\000\000") (exif orientation)
    let png = pngFile.Value
    let web = webp.Value

    let chunk kind (data: byte[]) =
        Array.concat [ ascii kind; little data.Length; data; Array.zeroCreate (data.Length % 2) ]

    let body =
        Array.concat
            [
                ascii "WEBP"
                chunk
                    "VP8X"
                    (Array.concat
                        [
                            [| 8uy; 0uy; 0uy; 0uy |]
                            (little (width - 1))[..2]
                            (little (height - 1))[..2]
                        ])
                web[12..]
                chunk "EXIF" (exif orientation)
            ]

    [
        "JPEG",
        Array.concat
            [
                file[..1]
                [| 0xFFuy; 0xE1uy |]
                Array.rev (short (block.Length + 2))
                block
                file[2..]
            ],
        file
        // The signature and IHDR have 33 bytes.
        "PNG", Array.concat [ png[..32]; pngChunk "eXIf" (exif orientation); png[33..] ], png
        "WebP", Array.concat [ ascii "RIFF"; little body.Length; body ], web
        "TIFF",
        tiffOf Compression.NONE Photometric.RGB 8 3 false [ TiffTag.ORIENTATION, [| box orientation |] ] rgbRow,
        tiff.Value
    ]

/// Where the stored first row and first column are shown (Exif 2.3, tag 274): orientation to (row is at, column is at).
let private shownAt (stored: byte[]) orientation =
    let swapped = orientation >= 5
    let rows, columns = if swapped then width, height else height, width

    [|
        for r in 0 .. rows - 1 do
            for c in 0 .. columns - 1 do
                let fromTop, fromLeft, fromBottom, fromRight = r, c, rows - 1 - r, columns - 1 - c

                let row, column =
                    match orientation with
                    | 1 -> fromTop, fromLeft
                    | 2 -> fromTop, fromRight
                    | 3 -> fromBottom, fromRight
                    | 4 -> fromBottom, fromLeft
                    | 5 -> fromLeft, fromTop
                    | 6 -> fromRight, fromTop
                    | 7 -> fromRight, fromBottom
                    | _ -> fromLeft, fromBottom

                let at = (row * width + column) * 3
                stored[at]
                stored[at + 1]
                stored[at + 2]
    |]

/// The resize rule as it is defined, without a thought for memory: all columns, then all rows.
let private resized (pixels: byte[]) (h: int) (w: int) (channels: int) (toH: int) (toW: int) =
    let weights position (from: int) (until: int) =
        let scale = float from / float until
        let support = max 1. scale
        let centre = (float position + 0.5) * scale
        let first = max 0 (int (centre - support + 0.5))
        let last = min from (int (centre + support + 0.5))

        let raw =
            [|
                for k in first .. last - 1 -> max 0. (1. - abs ((float k + 0.5 - centre) / support))
            |]

        let total = Array.sum raw
        first, raw |> Array.map (fun w -> float32 (w / total))

    let wide = Array.zeroCreate<float32>(h * toW * channels)

    for column in 0 .. toW - 1 do
        let first, ws = weights column w toW

        for row in 0 .. h - 1 do
            for c in 0 .. channels - 1 do
                let mutable sum = 0f

                for k in 0 .. ws.Length - 1 do
                    sum <- sum + ws[k] * float32 pixels[(row * w + first + k) * channels + c]

                wide[(row * toW + column) * channels + c] <- sum

    let stride = toW * channels

    [|
        for row in 0 .. toH - 1 do
            let first, ws = weights row h toH

            for i in 0 .. stride - 1 do
                let mutable sum = 0.5f

                for k in 0 .. ws.Length - 1 do
                    sum <- sum + ws[k] * wide[(first + k) * stride + i]

                byte (Math.Clamp(sum, 0f, 255f))
    |]

let private apply (pixels: byte[]) (shape: ImageShape) channels (rule: ResizeRule) =
    PixelForm.Apply(Span(Array.copy pixels), shape, channels, rule).ToArray()

let private noise n =
    Array.init n (fun i -> byte ((i * 7919 + i * i * 31) >>> 3))

let private toSquare: ResizeRule = ResizeRule.ShorterSideThenCentreCrop 224

[<Tests>]
let tests =
    testList
        "data decoding"
        [
            testList
                "a picture cut within its last 64 bytes is truncated, or all there"
                [
                    for name, file in files ->
                        test name {
                            let whole = pixelsOf name file.Value

                            for cut in 1..64 do
                                match decode file.Value[.. file.Value.Length - 1 - cut] with
                                | Ok(_, pixels) -> Expect.equal pixels whole $"{cut} bytes cut"
                                | Error problem ->
                                    Expect.isTrue
                                        (problem.Contains "truncated" || name = "TIFF")
                                        $"{cut} bytes cut: {problem}"

                            Expect.isError (decode file.Value[.. file.Value.Length - 2]) "the end mark is cut"

                            if name <> "TIFF" then
                                Expect.equal
                                    (pixelsOf name (Array.append file.Value "more"B))
                                    whole
                                    "what follows the end is left alone"
                        }
                ]

            test "lossless formats give the pixels that were stored" {
                for name, file in [ "PNG", pngFile; "WebP", webp; "BMP", bmp24; "TIFF", tiff ] do
                    Expect.equal (pixelsOf name file.Value) rgb name

                Expect.equal (pixelsOf "GIF" gif.Value) (coloursOf (entriesOf height width)) "GIF"
            }

            test "JPEG: restart marks, a thumbnail's end and bytes between segments are no end" {
                let file = jpeg.Value
                let plain = pixelsOf "plain" file

                let thumbnail =
                    Array.concat
                        [
                            [| 0xFFuy; 0xE2uy; 0uy; 8uy |]
                            [| 0xFFuy; 0xD8uy; 0xFFuy; 0xD9uy; 0uy; 0uy |]
                        ]

                let inside = Array.concat [ file[..1]; thumbnail; file[2..] ]
                Expect.equal (pixelsOf "thumbnail" inside) plain "pixels"

                for cut in [ 2; 8; 100 ] do
                    Expect.equal
                        (decode inside[.. inside.Length - 1 - cut])
                        (Error "truncated image")
                        $"{cut} bytes cut"
            }

            for orientation in 1..8 do
                test $"orientation {orientation}" {
                    for name, file, plain in oriented orientation do
                        let stored = pixelsOf name plain
                        let expected = shownAt stored orientation

                        match decode file, decodeWith true file with
                        | Ok(shape, shown), Ok(storedShape, asStored) ->
                            Expect.equal
                                shape
                                (if orientation >= 5 then
                                     ImageShape(width, height, 3)
                                 else
                                     ImageShape(height, width, 3))
                                $"{name}: shape"

                            Expect.equal shown expected $"{name}: turned"
                            Expect.equal storedShape (ImageShape(height, width, 3)) $"{name}: shape as stored"
                            Expect.equal asStored stored $"{name}: as stored"
                        | other -> failtest $"{name}: {other}"
                }

            test "an import turns images unless it is told not to" {
                withFolder (fun folder ->
                    let _, turned, _ = oriented 6 |> List.head

                    let source =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            [ File("cat/a.jpg", turned); File("dog/b.jpg", turned) ]

                    for ignored, shape in [ false, ImageShape(width, height, 3); true, ImageShape(height, width, 3) ] do
                        let root = Path.Combine(folder, $"root{ignored}")

                        let options =
                            ImportOptions(
                                "train",
                                ResizeRule.None(),
                                Nullable(),
                                false,
                                null,
                                IgnoreOrientation = ignored
                            )

                        importTo root source options |> ignore
                        use store = DatasetCatalogue.Open(root, "small", "train")
                        Expect.equal store.Shape shape $"ignored: {ignored}")
            }

            test "a transparent pixel keeps its colour in every format" {
                let colours: (byte * byte * byte * byte) list =
                    [
                        10uy, 20uy, 30uy, 0uy
                        200uy, 100uy, 50uy, 1uy
                        7uy, 8uy, 9uy, 255uy
                        255uy, 0uy, 128uy, 128uy
                        0uy, 0uy, 0uy, 0uy
                        1uy, 2uy, 3uy, 4uy
                        90uy, 80uy, 70uy, 60uy
                        33uy, 44uy, 55uy, 66uy
                    ]

                let expected =
                    [|
                        for r, g, b, _ in colours do
                            yield! [ r; g; b ]
                    |]

                let rgba =
                    [|
                        for r, g, b, a in colours do
                            yield! [ r; g; b; a ]
                    |]

                let webp =
                    Convert.FromBase64String
                        "UklGRmAAAABXRUJQVlA4TFMAAAAvA0AAED+gJpIU5okVZRSAbIQraiMFju4FFpBCMIWaSFKYJ7ZU0RT+RSBCUds2UC9kJTZ0I7V9AgCYEm//cHJnexeX//t7A4EAGVswpcSBiP5HIwA="

                Expect.equal (pixelsOf "WebP" webp) expected "WebP"

                Expect.equal
                    (pixelsOf "PNG" (pngOf 2 4 8uy 6uy [] (fun r -> rgba[r * 16 .. r * 16 + 15])))
                    expected
                    "PNG"

                let entries = entriesOf 5 6
                let rows r = entries[r * 6 .. r * 6 + 5]
                let chunks = [ pngChunk "PLTE" paletteBytes; pngChunk "tRNS" [| 255uy; 0uy; 128uy; 0uy |] ]
                Expect.equal (pixelsOf "palette" (pngOf 5 6 8uy 3uy chunks rows)) (coloursOf entries) "palette of a PNG"

                for interlaced in [ false; true ] do
                    // Interlaced data hold rows 0, 4, 2, 1, 3.
                    let order = if interlaced then [ 0; 4; 2; 1; 3 ] else [ 0..4 ]
                    let stored = order |> List.map rows |> Array.concat

                    for transparent in [ None; Some 0; Some 1; Some 3 ] do
                        Expect.equal
                            (pixelsOf "GIF" (gifOf (6, 5) (0, 0, 6, 5) interlaced transparent stored))
                            (coloursOf entries)
                            $"GIF, interlaced {interlaced}, transparent {transparent}"
            }

            test "what a GIF's frame does not reach has the transparent entry's colour, or entry 0's" {
                for transparent, outside in [ None, 0uy; Some 3, 3uy; Some 1, 1uy ] do
                    let expected = Array.create 30 outside

                    [ 7, 1uy; 8, 2uy; 9, 3uy; 13, 3uy; 14, 1uy; 15, 2uy ]
                    |> List.iter (fun (at, e) -> expected[at] <- e)

                    let file = gifOf (6, 5) (1, 1, 3, 2) false transparent [| 1uy; 2uy; 3uy; 3uy; 1uy; 2uy |]
                    Expect.equal (pixelsOf "GIF" file) (coloursOf expected) $"{transparent}"
            }

            test "BMP: palettes shorter than declared, runs with skipped pixels, pixels without a colour" {
                let rows =
                    [|
                        for row in 0..1 do
                            for column in 0..3 -> byte ((row + column) % 4)
                    |]

                let topDown = Array.append rows[4..7] rows[0..3]

                Expect.equal
                    (pixelsOf "declared" (bmpOf 4 2 8 0 palette 256 topDown))
                    (coloursOf rows)
                    "256 declared, 4 there"

                Expect.equal (pixelsOf "top down" (bmpOf 4 -2 8 0 palette 4 rows)) (coloursOf rows) "first row first"
                let runs = [| 2uy; 1uy; 0uy; 2uy; 1uy; 1uy; 1uy; 2uy; 0uy; 1uy |]
                // Below: two of 1, two skipped; above: three skipped, one of 2.
                Expect.equal
                    (pixelsOf "runs" (bmpOf 4 2 8 1 palette 4 runs))
                    (coloursOf [| 0uy; 0uy; 0uy; 2uy; 1uy; 1uy; 0uy; 0uy |])
                    "skipped pixels have entry 0"

                let halves = [| 3uy; 0x12uy; 0uy; 0uy; 0uy; 4uy; 0x01uy; 0x23uy; 0uy; 1uy |]

                Expect.equal
                    (pixelsOf "runs of half bytes" (bmpOf 4 2 4 2 palette 4 halves))
                    (coloursOf [| 0uy; 1uy; 2uy; 3uy; 1uy; 2uy; 1uy; 0uy |])
                    "half bytes"

                for name, file in
                    [
                        "plain", bmpOf 4 2 8 0 palette 4 (Array.create 8 4uy)
                        "runs", bmpOf 4 2 8 1 palette 4 [| 4uy; 9uy; 0uy; 1uy |]
                    ] do
                    Expect.isError (decode file) name
            }

            test "TIFF: compressions, tiles, grey, palettes, 16 bits, transparency" {
                for compression in
                    [
                        Compression.NONE
                        Compression.LZW
                        Compression.PACKBITS
                        Compression.DEFLATE
                        Compression.ADOBE_DEFLATE
                    ] do
                    for tiled in [ false; true ] do
                        Expect.equal
                            (pixelsOf "TIFF" (tiffOf compression Photometric.RGB 8 3 tiled [] rgbRow))
                            rgb
                            $"{compression}, tiles: {tiled}"

                let predicted =
                    tiffOf
                        Compression.LZW
                        Photometric.RGB
                        8
                        3
                        false
                        [ TiffTag.PREDICTOR, [| Predictor.HORIZONTAL |] ]
                        rgbRow

                Expect.equal (pixelsOf "predictor" predicted) rgb "predictor"

                let lossy =
                    pixelsOf
                        "JPEG"
                        (tiffOf Compression.JPEG Photometric.RGB 8 3 false [ TiffTag.JPEGQUALITY, [| 95 |] ] rgbRow)

                let error =
                    Array.map2 (fun (a: byte) (b: byte) -> abs (int a - int b)) lossy rgb
                    |> Array.averageBy float

                Expect.isLessThan error 12. "JPEG"

                let shades r =
                    Array.init width (fun c -> byte (r * 16 + c * 4))

                let repeated =
                    [|
                        for r in 0 .. height - 1 do
                            for s in shades r do
                                yield! [ s; s; s ]
                    |]

                Expect.equal
                    (pixelsOf "grey" (tiffOf Compression.LZW Photometric.MINISBLACK 8 1 false [] shades))
                    repeated
                    "grey"

                Expect.equal
                    (pixelsOf "white" (tiffOf Compression.LZW Photometric.MINISWHITE 8 1 false [] shades))
                    (repeated |> Array.map (~~~))
                    "0 is white"

                let deep r =
                    [|
                        for s in shades r do
                            yield! [ 200uy; s ]
                    |]

                Expect.equal
                    (pixelsOf "16 bits" (tiffOf Compression.LZW Photometric.MINISBLACK 16 1 false [] deep))
                    repeated
                    "the upper eight of 16 bits"

                let map = Array.init 3 (fun c -> Array.init 256 (fun i -> int16 (uint16 ((i * (c + 1) % 256) <<< 8))))

                let byMap =
                    tiffOf
                        Compression.PACKBITS
                        Photometric.PALETTE
                        8
                        1
                        false
                        [ TiffTag.COLORMAP, [| map[0]; map[1]; map[2] |] ]
                        shades

                Expect.equal
                    (pixelsOf "palette" byMap)
                    [|
                        for r in 0 .. height - 1 do
                            for s in shades r do
                                for c in 1..3 -> byte (int s * c % 256)
                    |]
                    "palette"

                let extra (kind: ExtraSample) =
                    [ TiffTag.EXTRASAMPLES, [| box 1; box [| int16 kind |] |] ]

                let withAlpha alpha r =
                    [|
                        for c in 0 .. width - 1 do
                            yield! rgbRow r |> Array.skip (c * 3) |> Array.take 3
                            yield alpha
                    |]

                Expect.equal
                    (pixelsOf
                        "alpha"
                        (tiffOf Compression.LZW Photometric.RGB 8 4 false (extra ExtraSample.UNASSALPHA) (withAlpha 3uy)))
                    rgb
                    "transparency is dropped"

                let multiplied r =
                    withAlpha 128uy r |> Array.mapi (fun i v -> if i % 4 = 3 then v else v / 2uy)

                Expect.equal
                    (pixelsOf
                        "multiplied"
                        (tiffOf Compression.LZW Photometric.RGB 8 4 false (extra ExtraSample.ASSOCALPHA) multiplied))
                    (rgb |> Array.map (fun v -> byte (min 255 (255 * int (v / 2uy) / 128))))
                    "colours multiplied by it are divided"

                for words, file in
                    [
                        "SEPARATED", tiffOf Compression.LZW Photometric.SEPARATED 8 4 false [] (withAlpha 0uy)
                        "CCITT",
                        tiffOf Compression.CCITTFAX4 Photometric.MINISBLACK 1 1 false [] (fun _ ->
                            Array.create (width / 8) 0x5Auy)
                        "IEEEFP",
                        tiffOf
                            Compression.NONE
                            Photometric.MINISBLACK
                            32
                            1
                            false
                            [ TiffTag.SAMPLEFORMAT, [| SampleFormat.IEEEFP |] ]
                            (fun _ -> Array.zeroCreate (4 * width))
                    ] do
                    match decode file with
                    | Error problem -> Expect.stringContains problem words "named"
                    | Ok _ -> failtest words
            }

            test "images that no pack takes are refused by name, unless they are made smaller" {
                withFolder (fun folder ->
                    let long = pngOf 1 40000 8uy 0uy [] (fun _ -> Array.create 40000 50uy)

                    let source =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            [ File("cat/long.png", long); File("dog/b.png", flat 8 1 2) ]

                    let import (rule: ResizeRule) =
                        importTo
                            (Path.Combine(folder, "root"))
                            source
                            (ImportOptions("train", rule, Nullable(), false, null))
                        |> ignore

                    let text = messageOf<DataException, _>(fun () -> import (ResizeRule.None()))

                    for word in [ "cat/long.png"; "40000"; "32768"; "--resize" ] do
                        Expect.stringContains text word "message"

                    import (ResizeRule.Exact(4, 8))
                    use store = DatasetCatalogue.Open(Path.Combine(folder, "root"), "small", "train")
                    Expect.equal (store.Pixels(0L).ToArray()) (Array.create 96 50uy) "made smaller")
            }

            test "an image of extreme sides is resized where it is kept, without delay" {
                withFolder (fun folder ->
                    let value column = byte (column / 100)
                    let wide = pngOf 1 20000 8uy 0uy [] (fun _ -> Array.init 20000 value)
                    let high = pngOf 20000 1 8uy 0uy [] (fun r -> [| value r |])

                    let source =
                        writeFolder (Path.Combine(folder, "set")) [ File("cat/w.png", wide); File("dog/h.png", high) ]

                    let root = Path.Combine(folder, "root")
                    let watch = Stopwatch.StartNew()

                    importTo root source (ImportOptions("train", toSquare, Nullable(), false, null))
                    |> ignore

                    Expect.isLessThan watch.Elapsed.TotalSeconds 5. "seconds"
                    use store = DatasetCatalogue.Open(root, "small", "train")

                    for i in 0L .. 1L do
                        let pixels = store.Pixels(i).ToArray()
                        // The middle of 20 000 pixels, where the value goes from 99 to 100.
                        Expect.equal (Array.min pixels, Array.max pixels) (99uy, 100uy) "the middle")
            }

            test "resizing gives the bytes of its definition" {
                for h, w, toH, toW in [ 50, 70, 32, 32; 13, 9, 40, 30; 64, 64, 17, 64; 5, 300, 7, 11; 33, 33, 33, 20 ] do
                    for channels in [ 1; 3 ] do
                        let pixels = noise (h * w * channels)

                        Expect.equal
                            (apply pixels (ImageShape(h, w, channels)) channels (ResizeRule.Exact(toH, toW)))
                            (resized pixels h w channels toH toW)
                            $"{h}x{w}x{channels} to {toH}x{toW}"

                for h, w, size in [ 50, 70, 32; 90, 31, 32; 20, 64, 48; 40, 40, 40; 40, 60, 40 ] do
                    let shorter = min h w
                    let toH = max size (int (Math.Round(float h * float size / float shorter)))
                    let toW = max size (int (Math.Round(float w * float size / float shorter)))
                    let pixels = noise (h * w * 3)
                    let full = resized pixels h w 3 toH toW
                    let top, left = (toH - size) / 2, (toW - size) / 2

                    Expect.equal
                        (apply pixels (ImageShape(h, w, 3)) 3 (ResizeRule.ShorterSideThenCentreCrop size))
                        [|
                            for r in top .. top + size - 1 do
                                yield! full[(r * toW + left) * 3 .. (r * toW + left + size) * 3 - 1]
                        |]
                        $"{h}x{w}, middle of {size}"
            }

            test "damaged pictures end in a reason or in pixels, and give their memory back" {
                for name, file in files do
                    for seed in 1UL .. 60UL do
                        match decode (Mutants.mutate seed file.Value) with
                        | Ok(shape, pixels) -> Expect.equal pixels.Length shape.Bytes $"{name}, {seed}"
                        | Error problem -> Expect.isNotEmpty problem $"{name}, {seed}"
            }

            test "images that need more than all memory for pixels are refused before it is asked for" {
                let header = pngOf 1 1 8uy 0uy [] (fun _ -> [| 0uy |])
                let claims = Array.copy header
                big 20000 |> fun b -> b.CopyTo(claims, 16)
                big 6000 |> fun b -> b.CopyTo(claims, 20)

                big (int (Crc32.Of(ReadOnlySpan(claims, 12, 17), 0u)))
                |> fun b -> b.CopyTo(claims, 29)

                match decode claims with
                | Error problem -> Expect.stringContains problem "20000x6000" "named"
                | Ok _ -> failtest "decoded"
            }

            test "an import of large images on many cores stays within its memory" {
                withFolder (fun folder ->
                    let large = pngOf 7000 7000 8uy 0uy [] (fun _ -> Array.zeroCreate 7000)

                    let source =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            [
                                for c in [ "cat"; "dog" ] do
                                    for i in 1..4 -> File($"{c}/{i}.png", large)
                            ]

                    let start = ProcessStartInfo("dotnet", RedirectStandardOutput = true, RedirectStandardError = true)
                    // Eight decoders would take 8 × 343 MB of pixels.
                    start.Environment["DOTNET_PROCESSOR_COUNT"] <- "8"

                    for argument in
                        [
                            Path.Combine(AppContext.BaseDirectory, "sslr.dll")
                            "data"
                            "import"
                            "large"
                            source
                            "--split"
                            "train"
                            "--resize"
                            "16x16"
                            "--data"
                            Path.Combine(folder, "root")
                        ] do
                        start.ArgumentList.Add argument

                    use child = Process.Start start
                    let output = child.StandardOutput.ReadToEndAsync()
                    let errors = child.StandardError.ReadToEndAsync()
                    let mutable peak = 0L

                    while not (child.WaitForExit 20) do
                        try
                            for line in File.ReadLines $"/proc/{child.Id}/status" do
                                if line.StartsWith "VmHWM:" then
                                    peak <- Int64.Parse(line.Substring(6).Replace("kB", "").Trim()) * 1024L
                        with :? IOException ->
                            ()

                    Expect.equal child.ExitCode 0 (output.Result + errors.Result)
                    Expect.isGreaterThan peak (200L <<< 20) "measured"
                    // 1 GiB of pixels, and the program itself.
                    Expect.isLessThan peak (1400L <<< 20) "peak of resident memory")
            }
        ]

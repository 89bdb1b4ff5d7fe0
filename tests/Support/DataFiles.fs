/// Small sources for the tests of imports.
module Tests.Support.DataFiles

open System
open System.Formats.Tar
open System.IO
open System.IO.Compression
open SkiaSharp
open SslResearch.Core.Data

/// Runs with an empty folder that is gone afterwards.
let withFolder (work: string -> 'a) =
    let folder = Path.Combine(Path.GetTempPath(), $"sslr-tests-{Guid.NewGuid():N}")
    Directory.CreateDirectory folder |> ignore

    try
        work folder
    finally
        Directory.Delete(folder, true)

/// Every file below a folder, relative, in order.
let filesBelow (folder: string) =
    if Directory.Exists folder then
        Directory.GetFiles(folder, "*", SearchOption.AllDirectories)
        |> Array.map (fun f -> Path.GetRelativePath(folder, f))
        |> Array.sort
    else
        [||]

/// A PNG whose pixel at (row, column) has these red, green and blue values.
let png (height: int) (width: int) (colour: int -> int -> byte * byte * byte) =
    use bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque)

    for row in 0 .. height - 1 do
        for column in 0 .. width - 1 do
            let r, g, b = colour row column
            bitmap.SetPixel(column, row, SKColor(r, g, b))

    use data = bitmap.Encode(SKEncodedImageFormat.Png, 100)
    data.ToArray()

/// A PNG of one colour that tells class and number.
let flat side (label: int) (number: int) =
    png side side (fun _ _ -> byte label, byte number, 7uy)

type Entry =
    | File of path: string * content: byte[]
    | Folder of path: string
    | Link of path: string * target: string

/// train/ and test/ with two classes of two images each.
let smallSet side =
    [
        for split in [ "train"; "test" ] do
            for label, name in [ 0, "cat"; 1, "dog" ] do
                for number in [ 0; 1 ] -> File($"{split}/{name}/{number}.png", flat side label number)
    ]

let writeFolder (folder: string) entries =
    for entry in entries do
        match entry with
        | File(path, content) ->
            let full = Path.Combine(folder, path)
            Directory.CreateDirectory(Path.GetDirectoryName full) |> ignore
            File.WriteAllBytes(full, content)
        | Folder path -> Directory.CreateDirectory(Path.Combine(folder, path)) |> ignore
        | Link(path, target) -> File.CreateSymbolicLink(Path.Combine(folder, path), target) |> ignore

    folder

let private writeTar (stream: Stream) entries =
    use tar = new TarWriter(stream, TarEntryFormat.Pax, true)

    for entry in entries do
        match entry with
        | File(path, content) ->
            tar.WriteEntry(PaxTarEntry(TarEntryType.RegularFile, path, DataStream = new MemoryStream(content)))
        | Folder path -> tar.WriteEntry(PaxTarEntry(TarEntryType.Directory, path))
        | Link(path, target) -> tar.WriteEntry(PaxTarEntry(TarEntryType.SymbolicLink, path, LinkName = target))

let tarFile (path: string) entries =
    use file = File.Create path
    writeTar file entries
    path

let tarGzFile (path: string) entries =
    use file = File.Create path
    use gzip = new GZipStream(file, CompressionLevel.Fastest)
    writeTar gzip entries
    path

let zipFile (path: string) entries =
    use file = File.Create path
    use zip = new ZipArchive(file, ZipArchiveMode.Create)

    for entry in entries do
        match entry with
        | File(path, content) ->
            use stream = zip.CreateEntry(path).Open()
            stream.Write(content, 0, content.Length)
        | Folder path -> zip.CreateEntry(path + "/") |> ignore
        | Link _ -> invalidArg "entries" "no links in zip here"

    path

/// Only the first part of a file stays.
let truncate (keep: float) (path: string) =
    use file = File.OpenWrite path
    file.SetLength(int64 (float file.Length * keep))
    path

/// A sample of an idx file: big-endian sizes after the magic number.
let idx (sizes: int list) (content: byte[]) =
    [|
        yield! [| 0uy; 0uy; 8uy; byte sizes.Length |]
        for size in sizes do
            yield! BitConverter.GetBytes size |> Array.rev
        yield! content
    |]

let gzip (content: byte[]) =
    use memory = new MemoryStream()

    using (new GZipStream(memory, CompressionLevel.Fastest)) (fun g -> g.Write(content, 0, content.Length))
    memory.ToArray()

let plain: ImportOptions = ImportOptions(null, ResizeRule.None(), Nullable(), false, null)

/// The same in place of what is there.
let replacing: ImportOptions =
    ImportOptions(null, ResizeRule.None(), Nullable(), false, null, Replace = true)

let importTo root source options =
    Importers.Import("small", source, root, options, null, Threading.CancellationToken.None)

/// The first byte of red and green of every image of a split: class and number of `flat`.
let flatContent root split =
    use store = DatasetCatalogue.Open(root, "small", split)

    [
        for i in 0 .. store.Count - 1 ->
            let pixels = store.Pixels(int64 i)
            store.Label(int64 i), int pixels[0], int pixels[1]
    ]

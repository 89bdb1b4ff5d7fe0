module Tests.Core.DataArchiveTests

open System
open System.Diagnostics
open System.Formats.Tar
open System.IO
open System.IO.Compression
open System.Text
open System.Threading
open Expecto
open SslResearch.Core.Data
open Tests.Support
open Tests.Support.DataFiles
open Tests.Support.Refusals

let private skipping: ImportOptions = ImportOptions(null, ResizeRule.None(), Nullable(), true, null)

let private imported folder source options =
    importTo (Path.Combine(folder, $"root-{Guid.NewGuid():N}")) source options

let private problem folder source =
    messageOf<DataException, _>(fun () -> imported folder source plain)

let private written folder name (bytes: byte[]) =
    let path = Path.Combine(folder, name)
    File.WriteAllBytes(path, bytes)
    path

let private expectAll (words: string list) text =
    for word in words do
        Expect.stringContains text word "message"

let private archive make name entries =
    withFolder (fun folder -> File.ReadAllBytes(make (Path.Combine(folder, name)) entries: string))

let private pipe (path: string) =
    use made = Process.Start("mkfifo", path)
    made.WaitForExit()
    Expect.equal made.ExitCode 0 "mkfifo"

/// Within this time, so that a reader that waits for ever fails the test instead of hanging the suite.
let private inTime (work: unit -> 'a) =
    let running = Tasks.Task.Run work
    Expect.isTrue (Tasks.Task.WaitAny([| running :> Tasks.Task |], 60_000) = 0) "ends in a minute"
    running.GetAwaiter().GetResult()

/// A tar header with a right check sum.
let private tarHeader (name: string) (kind: char) (size: string) =
    let header = Array.zeroCreate<byte> 512

    let put (at: int) (text: string) =
        Encoding.Latin1.GetBytes(text).CopyTo(header, at)

    put 0 name
    put 100 "0000644"
    put 124 size
    put 156 (string kind)
    put 257 "ustar\00000"
    put 148 "        "

    put
        148
        ((header |> Array.sumBy int).ToString()
         |> int
         |> fun sum -> Convert.ToString(sum, 8).PadLeft(6, '0') + "\000 ")

    header

let private padded (content: byte[]) =
    Array.append content (Array.zeroCreate ((512 - content.Length % 512) % 512))

let private tarOf (pieces: byte[] list) =
    Array.concat (pieces @ [ Array.zeroCreate 1024 ])

let private octal (n: int) = Convert.ToString(n, 8).PadLeft(11, '0')

let private setField (at: int) (value: uint16) (bytes: byte[]) =
    BitConverter.GetBytes(value).CopyTo(bytes, at)

/// Changes 16-bit fields of the first local header and of the first entry of the directory.
let private inZip local central value (bytes: byte[]) =
    let copy = Array.copy bytes
    let directory = copy.AsSpan().IndexOf(ReadOnlySpan [| 0x50uy; 0x4buy; 1uy; 2uy |])
    setField local value copy
    setField (directory + central) value copy
    copy

[<Tests>]
let tests =
    testList
        "data archives"
        [
            test "a .tar.gz that lacks any of its last bytes is truncated" {
                withFolder (fun folder ->
                    let whole = archive tarGzFile "a.tar.gz" (smallSet 8)

                    for cut in 1..64 do
                        problem folder (written folder "a.tar.gz" whole[.. whole.Length - 1 - cut])
                        |> expectAll [ "a.tar.gz"; "truncated" ])
            }

            test "an idx file packed with gzip that lacks any of its last bytes is truncated" {
                withFolder (fun folder ->
                    let labels = gzip (idx [ 3 ] [| 2uy; 0uy; 1uy |])

                    let set labels =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            [
                                File("train-images-idx3-ubyte", idx [ 3; 2; 2 ] (Array.init 12 byte))
                                File("train-labels-idx1-ubyte.gz", labels)
                                File("t10k-images-idx3-ubyte", idx [ 1; 2; 2 ] [| 9uy; 8uy; 7uy; 6uy |])
                                File("t10k-labels-idx1-ubyte", idx [ 1 ] [| 1uy |])
                            ]

                    imported folder (set labels) plain |> ignore

                    for cut in 1 .. labels.Length do
                        expectAll
                            [ "train-labels-idx1-ubyte.gz" ]
                            (problem folder (set labels[.. labels.Length - 1 - cut])))
            }

            test "gzip: several members and padding are read, a wrong sum or length and what is neither are not" {
                withFolder (fun folder ->
                    let tar = archive tarFile "a.tar" (smallSet 8)

                    // Pieces of every length around the decompressor's buffer.
                    let members = tar |> Array.chunkBySize 4099 |> Array.map gzip |> Array.append [| gzip [||] |]

                    let whole = Array.concat members

                    let read bytes =
                        imported folder (written folder "a.tar.gz" bytes) plain

                    Expect.hasLength (read whole).Splits 2 "several members"

                    Expect.hasLength
                        (read (Array.append whole (Array.zeroCreate 10240))).Splits
                        2
                        "padded as tapes are"

                    for name, bytes in
                        [
                            "a wrong sum", Array.mapi (fun i b -> if i = whole.Length - 8 then b ^^^ 1uy else b) whole
                            "a wrong length",
                            Array.mapi (fun i b -> if i = whole.Length - 1 then b ^^^ 1uy else b) whole
                            "garbage", Array.append whole "garbage"B
                            "garbage after padding", Array.append whole [| 0uy; 0uy; 7uy |]
                            "a member without its end", Array.append whole (Array.truncate 15 (gzip [| 1uy |]))
                        ] do
                        Expect.throwsT<DataException> (fun () -> read bytes |> ignore) name)
            }

            test "long names of GNU and pax archives" {
                withFolder (fun folder ->
                    let deep = String('d', 120) + "/" + String('e', 130)

                    for format in
                        [
                            TarEntryFormat.Gnu
                            TarEntryFormat.Pax
                            TarEntryFormat.Ustar
                            TarEntryFormat.V7
                        ] do
                        let path = Path.Combine(folder, $"{format}.tar")
                        let long = format = TarEntryFormat.Gnu || format = TarEntryFormat.Pax

                        using (new TarWriter(File.Create path, format)) (fun tar ->
                            for entry in smallSet 8 do
                                match entry with
                                | File(name, content) ->
                                    let name = if long then $"{deep}/{name}" else name
                                    let stream = new MemoryStream(content)

                                    let entry: Formats.Tar.TarEntry =
                                        match format with
                                        | TarEntryFormat.Gnu ->
                                            GnuTarEntry(TarEntryType.RegularFile, name, DataStream = stream)
                                        | TarEntryFormat.Pax ->
                                            PaxTarEntry(TarEntryType.RegularFile, name, DataStream = stream)
                                        | TarEntryFormat.Ustar ->
                                            UstarTarEntry(TarEntryType.RegularFile, name, DataStream = stream)
                                        | _ -> V7TarEntry(TarEntryType.V7RegularFile, name, DataStream = stream)

                                    tar.WriteEntry entry
                                | _ -> ())

                        Expect.hasLength (imported folder path plain).Splits 2 (string format))
            }

            test "tar headers that lie" {
                withFolder (fun folder ->
                    let picture = flat 8 0 0
                    let good = [ tarHeader "train/cat/1.png" '0' (octal picture.Length); padded picture ]

                    for name, pieces, words in
                        [
                            "a number that is not octal", [ tarHeader "train/cat/x.png" '0' "0000000z12" ], [ "octal" ]
                            "a negative size",
                            [
                                tarHeader "train/cat/x.png" '0' "\255\255\255\255\255\255\255\255\255\255\255\255"
                            ],
                            []
                            "a size beyond the end", [ tarHeader "train/cat/x.png" '0' "77777777777" ], []
                            "a huge pax header", [ tarHeader "x" 'x' "77777777777" ], [ "header of" ]
                            "a huge long name", [ tarHeader "x" 'L' "77777777777" ], [ "header of" ]
                            "a pax record without an end",
                            [ tarHeader "x" 'x' (octal 8); padded "99 path="B ],
                            [ "pax" ]
                            "a pax size that is none",
                            [ tarHeader "x" 'x' (octal 13); padded "13 size=-200\n"B ],
                            [ "pax" ]
                            "a sparse file", [ tarHeader "train/cat/x.png" 'S' (octal 0) ], [ "sparse" ]
                            "a sparse file of pax",
                            [ tarHeader "x" 'x' (octal 22); padded "22 GNU.sparse.major=1\n"B ],
                            [ "sparse" ]
                            "a wrong check sum",
                            [ Array.mapi (fun i b -> if i = 3 then b + 1uy else b) good[0]; good[1] ],
                            [ "check sum" ]
                        ] do
                        let text = problem folder (written folder "a.tar" (tarOf (good @ pieces)))
                        expectAll words text
                        Expect.isFalse (text.Contains '\n') name)
            }

            test "devices and pipes in an archive are named" {
                withFolder (fun folder ->
                    let set = archive tarFile "a.tar" (smallSet 8)

                    let tar =
                        tarOf
                            [
                                tarHeader "train/cat/p.png" '6' (octal 0)
                                tarHeader "train/cat/d.png" '3' (octal 0)
                                set
                            ]

                    let source = written folder "a.tar" tar

                    problem folder source
                    |> expectAll [ "2 of 10"; "p.png (a pipe"; "d.png (a device"; "--skip-corrupt" ]

                    Expect.hasLength (imported folder source skipping).Skipped 2 "left out")
            }

            test "pipes, devices and links to nothing in a folder are named, and none is opened" {
                withFolder (fun folder ->
                    let source = writeFolder (Path.Combine(folder, "set")) (smallSet 8)
                    pipe (Path.Combine(source, "train", "cat", "p.png"))

                    for name, target in [ "z.png", "/dev/zero"; "n.png", "/nowhere" ] do
                        File.CreateSymbolicLink(Path.Combine(source, "train", "cat", name), target)
                        |> ignore

                    let text = inTime (fun () -> problem folder source)
                    expectAll [ "2 of 10"; "p.png (a pipe"; "n.png (cannot be read" ] text
                    let outcome = inTime (fun () -> imported folder source skipping)
                    Expect.hasLength outcome.Skipped 2 "left out"

                    Expect.equal
                        [ for l in outcome.LeftOut -> string l ]
                        [ "1 link out of the folder (train/cat/z.png)" ]
                        "left out")
            }

            test "a source that is a pipe or a device is refused" {
                withFolder (fun folder ->
                    let fifo = Path.Combine(folder, "set.tar")
                    pipe fifo
                    inTime (fun () -> problem folder fifo) |> expectAll [ "set.tar"; "a pipe" ]
                    let zero = Path.Combine(folder, "zero.tar")
                    File.CreateSymbolicLink(zero, "/dev/zero") |> ignore
                    inTime (fun () -> problem folder zero) |> expectAll [ "zero.tar"; "a device" ]

                    let checkedFirst = ImportOptions(null, ResizeRule.None(), Nullable(), false, String('0', 64))

                    inTime (fun () -> messageOf<DataException, _>(fun () -> imported folder fifo checkedFirst))
                    |> expectAll [ "a pipe" ])
            }

            test "ZIP: wrong sums, lengths, methods and passwords" {
                withFolder (fun folder ->
                    let whole = archive zipFile "a.zip" (smallSet 8)

                    let read bytes =
                        problem folder (written folder "a.zip" bytes)
                    // Offsets in the local header and in the directory: flags 6 and 8, method 8 and 10, sum 14 and 16, length 22 and 24.
                    expectAll [ "encrypted"; "train/cat/0.png" ] (read (inZip 6 8 1us whole))
                    expectAll [ "a.zip" ] (read (inZip 8 10 99us whole))
                    expectAll [ "a.zip"; "damaged" ] (read (inZip 14 16 7us whole))
                    expectAll [ "a.zip"; "damaged" ] (read (inZip 22 24 9us whole))
                    expectAll [ "a.zip"; "damaged" ] (read (inZip 22 24 60000us whole)))
            }

            test "an image file larger than an image may be is named without being read" {
                withFolder (fun folder ->
                    let source = writeFolder (Path.Combine(folder, "set")) (smallSet 8)

                    using (File.Create(Path.Combine(source, "train", "cat", "x.png"))) (fun f ->
                        f.SetLength(257L <<< 20))

                    problem folder source |> expectAll [ "train/cat/x.png"; "256 MiB" ]
                    Expect.hasLength (imported folder source skipping).Skipped 1 "left out"

                    let tables = Path.Combine(folder, "tables")
                    Directory.CreateDirectory tables |> ignore

                    using (File.Create(Path.Combine(tables, "train-images-idx3-ubyte"))) (fun f ->
                        f.SetLength(1025L <<< 20))

                    problem folder tables |> expectAll [ "train-images-idx3-ubyte"; "1024 MiB" ])
            }

            test "a gzip bomb of an idx file is found while it is unpacked" {
                withFolder (fun folder ->
                    let source = Path.Combine(folder, "set")
                    Directory.CreateDirectory source |> ignore

                    using
                        (new GZipStream(
                            File.Create(Path.Combine(source, "train-images-idx3-ubyte.gz")),
                            CompressionLevel.Fastest
                        ))
                        (fun gzip ->
                            let zeros = Array.zeroCreate<byte>(1 <<< 20)

                            for _ in 0..1024 do
                                gzip.Write zeros)

                    problem folder source |> expectAll [ "train-images-idx3-ubyte.gz"; "1024 MiB" ])
            }

            test "damaged archives end in one kind of error" {
                withFolder (fun folder ->
                    let entries = smallSet 8

                    for make, name in [ tarFile, "a.tar"; tarGzFile, "a.tar.gz"; zipFile, "a.zip" ] do
                        let whole = archive make name entries

                        for seed in 1UL .. 80UL do
                            let source = written folder name (Mutants.mutate seed whole)

                            inTime (fun () ->
                                try
                                    imported folder source skipping |> ignore
                                with :? DataException as e ->
                                    Expect.isFalse (e.Message.Contains '\n') $"{name}, {seed}: one line"))
            }

            test "names that stand for one dataset are kept for it" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let under name source =
                        Importers.Import(name, source, root, plain, null, CancellationToken.None)

                    let classes =
                        [
                            "airplane"
                            "automobile"
                            "bird"
                            "cat"
                            "deer"
                            "dog"
                            "frog"
                            "horse"
                            "ship"
                            "truck"
                        ]

                    let set name side classes =
                        writeFolder
                            (Path.Combine(folder, name))
                            [
                                for split in [ "train"; "test" ] do
                                    for c in classes -> File($"{split}/{c}/0.png", flat side 1 2)
                            ]

                    for source, words in
                        [
                            set "other" 32 [ "cat"; "dog" ], [ "2 classes here, 10 there" ]
                            set "small" 16 classes, [ "16x16x3 here, 32x32x3 there" ]
                            set "renamed" 32 ("plane" :: classes.Tail), [ "'plane'" ]
                        ] do
                        let text = messageOf<DataException, _>(fun () -> under "cifar10" source)
                        expectAll ("another name" :: "Data.imported" :: "CIFAR-10" :: words) text
                        Expect.isEmpty (filesBelow root) "nothing left"
                        under $"mine-{Path.GetFileName source}" source |> ignore
                        Directory.Delete(root, true)

                    Expect.throwsT<DataException>
                        (fun () -> under "cifar100" (set "ten" 32 classes) |> ignore)
                        "ten classes are not CIFAR-100"

                    Expect.hasLength (under "cifar10" (set "right" 32 classes)).Splits 2 "its own form")
            }
        ]

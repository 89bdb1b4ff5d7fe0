module Tests.Core.DataImportTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles

let private expected = [ 0, 0, 0; 0, 0, 1; 1, 1, 0; 1, 1, 1 ]

let private options split (resize: ResizeRule) channels skip sha =
    ImportOptions(split, resize, channels, skip, sha)

let private none: ResizeRule = ResizeRule.None()

let private planar label (pixel: int -> int -> byte) =
    [|
        yield label
        for plane in 0..2 do
            for i in 0..1023 do
                yield pixel plane i
    |]

let private cifar10 label =
    [
        for i in 1..5 do
            File($"cifar-10-batches-bin/data_batch_{i}.bin", planar (byte i) (fun plane p -> byte (plane * 50 + p + i)))
        File("cifar-10-batches-bin/test_batch.bin", planar label (fun _ _ -> 9uy))
        File("cifar-10-batches-bin/batches.meta.txt", Text.Encoding.ASCII.GetBytes("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"))
    ]

let private mnist (trainLabels: byte[]) (testLabels: byte[]) =
    [
        File("train-images-idx3-ubyte.gz", gzip (idx [ 3; 2; 2 ] (Array.init 12 byte)))
        File("train-labels-idx1-ubyte.gz", gzip (idx [ trainLabels.Length ] trainLabels))
        File("t10k-images-idx3-ubyte", idx [ 1; 2; 2 ] [| 9uy; 8uy; 7uy; 6uy |])
        File("t10k-labels-idx1-ubyte", idx [ testLabels.Length ] testLabels)
    ]

let private without name entries =
    entries
    |> List.filter (function
        | File(path, _) -> not (path.EndsWith(name: string))
        | _ -> true)

/// Name of the fault, how to make a source, options, and words that the message must hold.
let private faults: (string * (string -> string) * ImportOptions * string list) list =
    let folder entries (at: string) =
        writeFolder (Path.Combine(at, "set")) entries

    let tar entries (at: string) =
        tarFile (Path.Combine(at, "set.tar")) entries

    let tarGz entries (at: string) =
        tarGzFile (Path.Combine(at, "set.tar.gz")) entries

    let zip entries (at: string) =
        zipFile (Path.Combine(at, "set.zip")) entries

    let bad = [| 1uy; 2uy; 3uy |]
    let cut = (flat 32 0 5)[..90]
    let more entries = smallSet 8 @ entries

    [
        "corrupt image",
        folder (
            more
                [
                    File("train/cat/x.png", bad)
                    File("train/dog/y.png", cut)
                    File("test/dog/z.jpg", [||])
                ]
        ),
        plain,
        [
            "3 of 11"
            "test/dog/z.jpg"
            "train/cat/x.png"
            "train/dog/y.png"
            "--skip-corrupt"
        ]
        "corrupt images only",
        zip [ for c in [ "a"; "b" ] -> File($"train/{c}/1.png", bad) ],
        options null none (Nullable()) true null,
        [ "no images" ]
        "truncated .tar.gz", tarGz (smallSet 64) >> truncate 0.6, plain, [ "set.tar.gz"; "truncated" ]
        "truncated .tar", tar (smallSet 64) >> truncate 0.5, plain, [ "set.tar"; "truncated" ]
        "truncated .zip", zip (smallSet 64) >> truncate 0.8, plain, [ "set.zip"; "truncated" ]
        "wrong checksum",
        tarGz (smallSet 8),
        options null none (Nullable()) false (String('0', 64)),
        [ "set.tar.gz"; "expected 000"; "SHA-256" ]
        "path that climbs",
        tar (more [ File("train/cat/../../../x.png", flat 8 0 0) ]),
        plain,
        [ "../../../x.png"; "leaves" ]
        "absolute path", zip (more [ File("/etc/x.png", flat 8 0 0) ]), plain, [ "/etc/x.png"; "leaves" ]
        "Windows path", zip (more [ File(@"train\..\..\x.png", flat 8 0 0) ]), plain, [ "leaves" ]
        "link", tarGz (more [ Link("train/cat/l.png", "/etc/passwd") ]), plain, [ "train/cat/l.png"; "link" ]
        "same path twice", tar (more [ File("train/cat/0.png", flat 8 0 0) ]), plain, [ "train/cat/0.png"; "twice" ]
        "empty class in a folder", folder (more [ Folder "train/emu" ]), plain, [ "train/emu"; "no images" ]
        "empty class in a .tar", tar (more [ Folder "test/emu/" ]), plain, [ "test/emu"; "no images" ]
        "empty class in a .zip", zip (more [ Folder "test/emu" ]), plain, [ "test/emu"; "no images" ]
        "sizes that differ",
        folder (more [ File("train/cat/9.png", flat 9 0 0) ]),
        plain,
        [ "8x8x3"; "9x9x3"; "--resize N" ]
        "classes that differ", folder (more [ File("train/emu/0.png", flat 8 2 0) ]), plain, [ "'test' lacks 'emu'" ]
        "no images", folder [ File("readme.txt", bad) ], plain, [ "nothing that can be imported" ]
        "no splits",
        folder [ File("cat/0.png", flat 8 0 0); File("dog/0.png", flat 8 1 0) ],
        plain,
        [ "train/"; "--split" ]
        "image outside a class",
        folder (more [ File("train/0.png", flat 8 0 0) ]),
        plain,
        [ "train/0.png"; "class folder" ]
        "stated split and own splits",
        folder (smallSet 8),
        options "train" none (Nullable()) false null,
        [ "own splits" ]
        "unknown kind",
        (fun at ->
            File.WriteAllText(Path.Combine(at, "set.rar"), "Rar!")
            Path.Combine(at, "set.rar")),
        plain,
        [ "set.rar"; ".tar.gz" ]
        "missing source", (fun at -> Path.Combine(at, "absent.zip")), plain, [ "absent.zip"; "no file or folder" ]
        "CIFAR label outside its range", tarGz (cifar10 10uy), plain, [ "test_batch.bin"; "label 10" ]
        "CIFAR file missing", tarGz (cifar10 1uy |> without "data_batch_3.bin"), plain, [ "lacks 'data_batch_3.bin'" ]
        "CIFAR names missing", tarGz (cifar10 1uy |> without "meta.txt"), plain, [ "lacks 'batches.meta.txt'" ]
        "CIFAR record cut",
        folder (
            cifar10 1uy
            @ [ File("cifar-10-batches-bin/data_batch_2.bin", Array.zeroCreate 3000) ]
        ),
        plain,
        [ "data_batch_2.bin"; "3000 bytes" ]
        "idx magic number",
        folder (
            mnist [| 0uy; 1uy; 2uy |] [| 1uy |]
            @ [ File("t10k-labels-idx1-ubyte", idx [ 1; 1 ] [| 1uy |]) ]
        ),
        plain,
        [ "t10k-labels-idx1-ubyte"; "magic" ]
        "idx counts that differ", folder (mnist [| 0uy; 1uy |] [| 1uy |]), plain, [ "3 images"; "2 labels" ]
        "idx cut",
        folder (
            mnist [| 0uy; 1uy; 2uy |] [| 1uy |]
            @ [ File("t10k-images-idx3-ubyte", idx [ 1; 2; 2 ] [| 9uy |]) ]
        ),
        plain,
        [ "t10k-images-idx3-ubyte"; "truncated" ]
        "idx label outside the classes", folder (mnist [| 0uy; 1uy; 2uy |] [| 3uy |]), plain, [ "label 3"; "3 classes" ]
        "idx file missing",
        folder (mnist [| 0uy; 1uy; 2uy |] [| 1uy |] |> without "t10k-labels-idx1-ubyte"),
        plain,
        [ "lacks"; "t10k-labels" ]
    ]

let private sizesRule: ResizeRule = ResizeRule.ShorterSideThenCentreCrop 4

[<Tests>]
let tests =
    testList
        "data import"
        [
            testList
                "faults: one message, nothing left behind"
                [
                    for name, make, options, words in faults ->
                        test name {
                            withFolder (fun folder ->
                                let root = Path.Combine(folder, "root")
                                let source = make folder

                                let text =
                                    try
                                        importTo root source options |> ignore
                                        failtest "imported"
                                    with :? DataException as e ->
                                        e.Message

                                for word in words do
                                    Expect.stringContains text word "message"

                                Expect.isFalse (text.Contains '\n') "one line"
                                Expect.isEmpty (filesBelow root) "nothing left"

                                if Directory.Exists root then
                                    Expect.isEmpty (Directory.GetDirectories root) "no folder left")
                        }
                ]

            test "a failed import keeps the packs that were there" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    importTo root (writeFolder (Path.Combine(folder, "good")) (smallSet 8)) plain
                    |> ignore

                    let before =
                        filesBelow root
                        |> Array.map (fun f -> f, File.ReadAllBytes(Path.Combine(root, f)))

                    let bad = smallSet 8 @ [ File("train/dog/x.png", [| 0uy |]) ]

                    Expect.throwsT<DataException>
                        (fun () ->
                            importTo root (writeFolder (Path.Combine(folder, "bad")) bad) replacing
                            |> ignore)
                        "refused"

                    let after =
                        filesBelow root
                        |> Array.map (fun f -> f, File.ReadAllBytes(Path.Combine(root, f)))

                    Expect.equal after before "unchanged")
            }

            test "folder, .tar, .tar.gz and .zip give the same packs in any order, with a folder around them" {
                withFolder (fun folder ->
                    let prints =
                        [
                            for i, (make, order) in
                                List.indexed
                                    [
                                        (fun e -> writeFolder (Path.Combine(folder, "f")) e), id
                                        (fun e -> tarFile (Path.Combine(folder, "a.tar")) e), List.rev
                                        (fun e -> tarGzFile (Path.Combine(folder, "a.tgz")) e), List.sortBy hash
                                        (fun e -> zipFile (Path.Combine(folder, "a.zip")) e), List.rev
                                        (fun e ->
                                            e
                                            |> List.map (function
                                                | File(p, c) -> File("top/inner/" + p, c)
                                                | other -> other)
                                            |> fun e ->
                                                File("top/readme.txt", [| 1uy |])
                                                :: File("__MACOSX/x.png", [| 1uy |])
                                                :: e
                                            |> tarGzFile (Path.Combine(folder, "b.tar.gz"))),
                                        id
                                    ] do
                                let root = Path.Combine(folder, $"root{i}")
                                let outcome = importTo root (smallSet 8 |> order |> make) plain
                                Expect.equal (flatContent root "train") expected "content of train"
                                Expect.equal (flatContent root "test") expected "content of test"
                                [ for s in outcome.Splits -> s.Split, s.Fingerprint, s.Count ]
                        ]

                    Expect.hasLength (List.distinct prints) 1 "same packs")
            }

            test "an archive cut anywhere is noticed" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    for make, name in [ tarFile, "a.tar"; tarGzFile, "a.tar.gz"; zipFile, "a.zip" ] do
                        for keep in [ 0.02..0.07..0.98 ] do
                            let source = make (Path.Combine(folder, name)) (smallSet 40) |> truncate keep

                            Expect.throwsT<DataException>
                                (fun () -> importTo root source plain |> ignore)
                                $"{name}, {keep} kept"

                            Expect.isEmpty (filesBelow root) "nothing left"

                    // Between two entries a .tar has no other mark than its missing end.
                    let source = tarFile (Path.Combine(folder, "a.tar")) (smallSet 8)

                    using (File.OpenWrite source) (fun f -> f.SetLength(f.Length - 1024L))
                    Expect.throwsT<DataException> (fun () -> importTo root source plain |> ignore) "no end")
            }

            test "what a killed import left is removed by the next one" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let at name = Path.Combine(root, "small", name)
                    Directory.CreateDirectory(Path.Combine(root, "small")) |> ignore

                    for name in [ ".old.tmp"; ".held.tmp"; ".new.tmp" ] do
                        File.WriteAllText(at name, "x")

                        if name <> ".new.tmp" then
                            File.SetLastWriteTimeUtc(at name, DateTime.UtcNow.AddHours -1.)

                    use held = new FileStream(at ".held.tmp", FileMode.Open, FileAccess.ReadWrite, FileShare.None)

                    importTo root (writeFolder (Path.Combine(folder, "s")) (smallSet 8)) plain
                    |> ignore

                    Expect.equal
                        (filesBelow root |> Array.map Path.GetFileName)
                        [| ".held.tmp"; ".new.tmp"; "test.sslpack"; "train.sslpack" |]
                        "the old one only is gone")
            }

            test "a stated split, and the splits of one dataset must fit" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let stated split =
                        options split none (Nullable()) false null

                    let source name classes side =
                        writeFolder
                            (Path.Combine(folder, name))
                            [
                                for label, c in List.indexed classes -> File($"top/{c}/0.png", flat side label 3)
                            ]

                    importTo root (source "a" [ "cat"; "dog" ] 8) (stated "train") |> ignore
                    importTo root (source "b" [ "cat"; "dog" ] 8) (stated "test") |> ignore
                    Expect.equal (flatContent root "test") [ 0, 0, 3; 1, 1, 3 ] "second split"

                    for bad in [ source "c" [ "cat"; "emu" ] 8; source "d" [ "cat"; "dog" ] 9 ] do
                        Expect.throwsT<DataException>
                            (fun () -> importTo root bad (stated "val") |> ignore)
                            "does not fit"

                    Expect.sequenceEqual (DatasetCatalogue.Splits(root, "small")) [ "test"; "train" ] "splits")
            }

            test "corrupt images can be left out and are reported" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let source =
                        tarGzFile (Path.Combine(folder, "a.tar.gz")) (File("train/cat/x.png", [| 1uy |]) :: smallSet 8)

                    let outcome = importTo root source (options null none (Nullable()) true null)
                    Expect.equal (flatContent root "train") expected "the others"
                    Expect.hasLength outcome.Skipped 1 "reported"
                    Expect.stringContains outcome.Skipped[0] "train/cat/x.png" "named")
            }

            test "resize rules, channels" {
                withFolder (fun folder ->
                    // Columns 0–3 black, 4–11 red 200, 12–15 black: the middle square of 8×16 is red.
                    let wide = png 8 16 (fun _ c -> (if c >= 4 && c < 12 then 200uy else 0uy), 0uy, 0uy)
                    let entries = [ File("cat/w.png", wide); File("dog/s.png", flat 8 90 30) ]
                    let source = writeFolder (Path.Combine(folder, "a")) entries

                    let imported (rule: ResizeRule) channels =
                        let root = Path.Combine(folder, Guid.NewGuid().ToString "N")
                        importTo root source (options "train" rule channels false null) |> ignore
                        use store = DatasetCatalogue.Open(root, "small", "train")
                        store.Shape, store.Pixels(0L).ToArray(), store.Pixels(1L).ToArray()

                    let shape, cropped, plain = imported sizesRule (Nullable())
                    Expect.equal shape (ImageShape(4, 4, 3)) "shape"
                    Expect.equal plain[0..2] [| 90uy; 30uy; 7uy |] "a flat image stays flat"

                    // Triangle of half-width 2 over columns of 2: the outermost reaches one source column of black in eight.
                    let red = [ for c in 0..3 -> cropped[c * 3] ]
                    Expect.equal red [ 175uy; 200uy; 200uy; 175uy ] "middle square, antialiased"
                    let shape, squeezed, _ = imported (ResizeRule.Exact(2, 4)) (Nullable())
                    Expect.equal shape (ImageShape(2, 4, 3)) "exact shape"
                    Expect.isLessThan squeezed[0] 60uy "the black margin is kept"
                    let shape, _, grey = imported sizesRule (Nullable 1)
                    Expect.equal shape (ImageShape(4, 4, 1)) "grey shape"
                    Expect.equal grey[0] 45uy "0.299·90 + 0.587·30 + 0.114·7 = 45.3")
            }

            test "CIFAR-10 binary release" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    importTo root (tarGzFile (Path.Combine(folder, "c.tar.gz")) (cifar10 4uy)) plain
                    |> ignore

                    use train = DatasetCatalogue.Open(root, "small", "train")
                    use test = DatasetCatalogue.Open(root, "small", "test")
                    Expect.equal (train.Count, test.Count, train.Shape) (5, 1, ImageShape(32, 32, 3)) "shape"
                    Expect.equal [ for i in 0..4 -> train.Label i ] [ 1; 2; 3; 4; 5 ] "batches in order"
                    Expect.equal (test.Label 0, test.ClassNames[4]) (4, "e") "label and name"
                    let pixels = train.Pixels(1L).ToArray()
                    // Batch 2, pixel 33 (row 1, column 1): plane·50 + 33 + 2.
                    Expect.equal pixels[99..101] [| 35uy; 85uy; 135uy |] "planes become channels")
            }

            test "CIFAR-100 binary release keeps the fine label" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let record (coarse: byte) (fine: byte) =
                        Array.append [| coarse |] (planar fine (fun _ _ -> 1uy))

                    let names = String.Join('\n', [ for i in 0..99 -> $"fine{i}" ])

                    let entries =
                        [
                            File("cifar-100-binary/train.bin", Array.append (record 3uy 99uy) (record 19uy 0uy))
                            File("cifar-100-binary/test.bin", record 1uy 57uy)
                            File("cifar-100-binary/fine_label_names.txt", Text.Encoding.ASCII.GetBytes names)
                        ]

                    importTo root (zipFile (Path.Combine(folder, "c.zip")) entries) plain |> ignore
                    use train = DatasetCatalogue.Open(root, "small", "train")
                    Expect.equal [ train.Label 0; train.Label 1 ] [ 99; 0 ] "fine labels"
                    Expect.equal train.ClassNames[99] "fine99" "names")
            }

            test "idx files, plain and gzipped" {
                withFolder (fun folder ->
                    let source = writeFolder (Path.Combine(folder, "m")) (mnist [| 2uy; 0uy; 1uy |] [| 1uy |])
                    let root = Path.Combine(folder, "root")
                    importTo root source plain |> ignore
                    use train = DatasetCatalogue.Open(root, "small", "train")
                    Expect.equal (train.Shape, train.Count) (ImageShape(2, 2, 1), 3) "shape"
                    Expect.equal (train.Pixels(1L).ToArray()) [| 4uy; 5uy; 6uy; 7uy |] "pixels"
                    Expect.equal [ for i in 0..2 -> train.Label i ] [ 2; 0; 1 ] "labels"
                    Expect.sequenceEqual train.ClassNames [ "0"; "1"; "2" ] "names"

                    importTo root source (ImportOptions(null, none, Nullable 3, false, null, Replace = true))
                    |> ignore

                    use colour = DatasetCatalogue.Open(root, "small", "test")
                    Expect.equal (colour.Pixels(0L).ToArray()[..5]) [| 9uy; 9uy; 9uy; 8uy; 8uy; 8uy |] "grey repeated")
            }

            test "names that would leave the data root, and reserved ones" {
                withFolder (fun root ->
                    for name in [ ""; "a/b"; ".."; ".x"; "a b"; "shapes"; "downloads" ] do
                        Expect.throwsT<DataException>
                            (fun () ->
                                Importers.Import(name, root, root, plain, null, CancellationToken.None)
                                |> ignore)
                            name)
            }

            test "cancelling leaves nothing" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = tarFile (Path.Combine(folder, "a.tar")) (smallSet 8)
                    use stop = new CancellationTokenSource()
                    stop.Cancel()

                    Expect.throwsT<OperationCanceledException>
                        (fun () -> Importers.Import("small", source, root, plain, null, stop.Token) |> ignore)
                        "cancelled"

                    Expect.isEmpty (filesBelow root) "nothing left")
            }

            test "60 000 JPEGs of CIFAR-10" {
                let candidates =
                    [
                        match Environment.GetEnvironmentVariable "SSLR_TEST_DATA" with
                        | null -> ()
                        | folder -> folder
                        let mutable at = DirectoryInfo AppContext.BaseDirectory

                        while not (isNull at) do
                            Path.Combine(at.FullName, "shared", "data")
                            at <- at.Parent
                    ]

                match
                    candidates
                    |> List.map (fun d -> Path.Combine(d, "cifar10-jpeg.tar.gz"))
                    |> List.tryFind File.Exists
                with
                | None -> skiptest "skipped: no data"
                | Some archive ->
                    withFolder (fun root ->
                        let watch = Stopwatch.StartNew()

                        let sha = "70260124a4d2364bd32a0a222ddcd4197d2afa56725518368da092f67d4c29fe"
                        importTo root archive (options null none (Nullable()) false sha) |> ignore
                        Expect.isLessThan watch.Elapsed.TotalSeconds 60. "seconds"
                        let info = DatasetCatalogue.Verify(root, "small", "train")
                        Expect.sequenceEqual info.PerClass [ for _ in 0..9 -> 5000 ] "per class"
                        // The same on every machine: baseline decoding by libjpeg-turbo is exact integer arithmetic.
                        Expect.equal
                            info.Fingerprint
                            "391ffbb4749e101aed9716b0a16cbc083d92e735ac469dbdc18c865b5c2218b0"
                            "fingerprint"

                        let open' = Stopwatch.StartNew()
                        use store = DatasetCatalogue.Open(root, "small", "train")
                        Expect.isLessThan open'.Elapsed.TotalMilliseconds 200. "opening does not read the pixels"
                        Expect.equal store.ClassNames[9] "truck" "names")
            }
        ]

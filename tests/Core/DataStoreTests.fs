module Tests.Core.DataStoreTests

open System
open System.IO
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles
open Tests.Support.Refusals

let private shape = ImageShape(3, 5, 3)
let private classes = [| "ä"; "b c"; "d" |]
let private pixels = Array.init (7 * shape.Bytes) (fun i -> byte (i * 31 + i / 256))
let private labels = [| 0; 1; 2; -1; 2; 1; 0 |]

let private write path =
    use writer = new PackWriter(path, "mine", "train", shape, classes)

    for i in 0..6 do
        writer.Add(ReadOnlySpan(pixels, i * shape.Bytes, shape.Bytes), labels[i])

    writer.Complete()

let private expectContains (text: string) (part: string) =
    Expect.stringContains text part "message"

[<Tests>]
let tests =
    testList
        "data store"
        [
            test "a pack gives back what was written, and equals the store in memory" {
                withFolder (fun folder ->
                    let path = Path.Combine(folder, "mine", "train.sslpack")
                    let fingerprint = write path
                    use store = ImageStore.Open path
                    use memory = ImageStore.FromMemory("other", shape, pixels, labels, classes, "test")

                    Expect.equal
                        (store.Name, store.Split, store.Shape, store.Count)
                        ("mine", "train", shape, 7)
                        "header"

                    Expect.sequenceEqual store.ClassNames classes "classes"

                    for i in 0..6 do
                        Expect.equal (store.Label i) labels[i] "label"

                        Expect.equal
                            (store.Pixels(i).ToArray())
                            pixels[i * shape.Bytes .. (i + 1) * shape.Bytes - 1]
                            "pixels"

                        Expect.isTrue (store.Pixels(i).SequenceEqual(memory.Pixels i)) "same in memory"

                    Expect.equal store.Fingerprint fingerprint "fingerprint of the writer"
                    Expect.equal memory.Fingerprint fingerprint "name and split are not part of the content"
                    Expect.equal (store.ComputeFingerprint()) fingerprint "recomputed"
                    Expect.equal (filesBelow folder) [| Path.Combine("mine", "train.sslpack") |] "nothing else is left")
            }

            test "a part reads the whole's images, and has a fingerprint of its own" {
                use whole = ImageStore.FromMemory("mine", shape, pixels, labels, classes, "train")
                let positions = [| 4; 0; 6 |]
                use part = whole.Part(ReadOnlySpan positions, "some")
                Expect.equal (part.Name, part.Split, part.Count) ("mine", "some", 3) "name, split, count"

                for i, position in Array.indexed positions do
                    Expect.equal (part.Pixels(int64 i).ToArray()) (whole.Pixels(int64 position).ToArray()) "pixels"
                    Expect.equal (part.Label(int64 i)) labels[position] "label"

                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> part.Pixels(3L).ToArray() |> ignore) "outside"
                use same = whole.Part(ReadOnlySpan positions, "other name")
                use other = whole.Part(ReadOnlySpan [| 0; 4; 6 |], "some")
                Expect.equal same.Fingerprint part.Fingerprint "the same images"
                Expect.notEqual other.Fingerprint part.Fingerprint "another order"
                Expect.notEqual part.Fingerprint whole.Fingerprint "not the whole"
                Expect.equal (part.ComputeFingerprint()) part.Fingerprint "read in full"

                for bad in [ [||]; [| 7 |]; [| -1 |] ] do
                    Expect.throwsT<ArgumentException>
                        (fun () -> whole.Part(ReadOnlySpan bad, "some") |> ignore)
                        $"positions {bad}"
            }

            test "every part of the content changes the fingerprint" {
                let fingerprint (pixels: byte[]) (labels: int[]) (shape: ImageShape) (names: string[]) =
                    use store = ImageStore.FromMemory("x", shape, pixels, labels, names, "train")
                    store.Fingerprint

                let otherPixels = Array.copy pixels
                otherPixels[50] <- otherPixels[50] + 1uy

                let all =
                    [
                        fingerprint pixels labels shape classes
                        fingerprint otherPixels labels shape classes
                        fingerprint pixels [| 0; 1; 2; -1; 2; 1; 1 |] shape classes
                        fingerprint pixels labels (ImageShape(5, 3, 3)) classes
                        fingerprint pixels labels shape [| "a"; "b c"; "d" |]
                    ]

                Expect.hasLength (List.distinct all) all.Length "all differ"
            }

            test "pixels of a pack start on a page" {
                withFolder (fun folder ->
                    let path = Path.Combine(folder, "p.sslpack")
                    write path |> ignore
                    let bytes = File.ReadAllBytes path
                    let offset = BitConverter.ToInt64(bytes, 40)
                    Expect.equal (offset % 4096L) 0L "page"
                    Expect.equal bytes[int offset .. int offset + pixels.Length - 1] pixels "plain (N, H, W, C) bytes")
            }

            test "a pack that was not completed leaves nothing" {
                withFolder (fun folder ->
                    let path = Path.Combine(folder, "p.sslpack")

                    using (new PackWriter(path, "mine", "train", shape, classes)) (fun w ->
                        w.Add(ReadOnlySpan(pixels, 0, shape.Bytes), 0))

                    Expect.isEmpty (filesBelow folder) "temporary removed"

                    let text =
                        messageOf<DataException, _>(fun () ->
                            use w = new PackWriter(path, "mine", "train", shape, classes)
                            w.Add(ReadOnlySpan(pixels, 0, shape.Bytes), 3))

                    expectContains text "label 3"
                    Expect.isEmpty (filesBelow folder) "temporary removed after an error")
            }

            test "damaged packs are refused in one clear message" {
                withFolder (fun folder ->
                    let fresh name =
                        let path = Path.Combine(folder, name + ".sslpack")
                        write path |> ignore
                        path

                    let refused path (part: string) =
                        let text = messageOf<DataException, _>(fun () -> ImageStore.Open(path).Dispose())
                        expectContains text part
                        expectContains text path

                    refused (Path.Combine(folder, "none.sslpack")) "no dataset pack"
                    refused (fresh "cut" |> truncate 0.9) "truncated"
                    refused (fresh "short" |> truncate 0.001) "not a dataset pack"

                    let patched name offset (value: byte[]) =
                        let path = fresh name
                        use file = File.OpenWrite path
                        file.Position <- offset
                        file.Write(value, 0, value.Length)
                        path

                    refused (patched "version" 8L [| 9uy |]) "version 9"
                    refused (patched "count" 16L [| 8uy |]) "damaged"
                    refused (patched "classes" 36L [| 255uy; 255uy |]) "damaged"
                    refused (patched "names" 96L [| 255uy; 255uy; 255uy; 127uy |]) "damaged"
                    refused (patched "labels" (int64 (FileInfo(fresh "x").Length) - 4L) [| 77uy |]) "label 77")
            }

            test "verify finds a changed pixel" {
                withFolder (fun root ->
                    let path = Path.Combine(root, "mine", "train.sslpack")
                    write path |> ignore
                    let info = DatasetCatalogue.Verify(root, "mine", "train")
                    Expect.sequenceEqual info.PerClass [ 2; 2; 2 ] "per class"
                    Expect.equal (info.Unlabelled, info.Count, info.Shape) (1, 7, shape) "counts"

                    using (File.OpenWrite path) (fun f ->
                        f.Position <- 4096L
                        f.WriteByte 200uy)

                    let text =
                        messageOf<DataException, _>(fun () -> DatasetCatalogue.Verify(root, "mine", "train") |> ignore)

                    expectContains text "damaged"
                    expectContains text path)
            }

            test "a missing dataset names the command that makes it" {
                withFolder (fun root ->
                    let missing name split =
                        messageOf<DataException, _>(fun () -> DatasetCatalogue.Open(root, name, split).Dispose())

                    expectContains (missing "cifar10" "train") "sslr data fetch cifar10"
                    expectContains (missing "mine" "train") "sslr data import mine SOURCE"
                    expectContains (missing "shapes" "train") "never imported"
                    Expect.isFalse ((missing "mine" "train").Contains "fetch") "not in the catalogue"
                    write (Path.Combine(root, "mine", "train.sslpack")) |> ignore
                    expectContains (missing "mine" "test") "no split 'test', only train"
                    Expect.sequenceEqual (DatasetCatalogue.List root) [ "mine" ] "list")
            }

            test "positions outside and a disposed store are refused" {
                let store = ImageStore.FromMemory("x", shape, pixels, labels, classes, "train")
                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> store.Pixels(7L).Length |> ignore) "end"
                Expect.throwsT<ArgumentOutOfRangeException> (fun () -> store.Pixels(-1L).Length |> ignore) "start"
                store.Dispose()
                Expect.throwsT<ObjectDisposedException> (fun () -> store.Pixels(0L).Length |> ignore) "disposed"
            }

            test "the data root: option, then variable, then cache" {
                let before = Environment.GetEnvironmentVariable DataRoot.Variable

                try
                    Environment.SetEnvironmentVariable(DataRoot.Variable, "/tmp/from-variable")
                    Expect.equal (DataRoot.Resolve "/tmp/from-option") "/tmp/from-option" "option"
                    Expect.equal (DataRoot.Resolve null) "/tmp/from-variable" "variable"
                    Environment.SetEnvironmentVariable(DataRoot.Variable, null)
                    Expect.stringEnds (DataRoot.Resolve null) (Path.Combine("sslr", "data")) "cache"
                finally
                    Environment.SetEnvironmentVariable(DataRoot.Variable, before)
            }
        ]

/// Packs on disk: what of them is covered, what their channels are, and what happens when they change under a reader.
module Tests.Core.DataPackTests

open System
open System.IO
open System.Text
open Expecto
open SslResearch.Core.Augment
open SslResearch.Core.Data
open Tests.Support.DataFiles
open Tests.Support.Refusals
open TorchSharp

let private shape = ImageShape(3, 5, 3)
let private classes = [| "ä"; "b c" |]

let private pixels =
    let random = Random 7
    Array.init (9 * shape.Bytes) (fun _ -> byte (random.Next 256))

let private write (root: string) =
    let path = Path.Combine(root, "mine", "train.sslpack")
    use writer = new PackWriter(path, "mine", "train", shape, classes)

    for i in 0..8 do
        writer.Add(ReadOnlySpan(pixels, i * shape.Bytes, shape.Bytes), i % 2)

    writer.Complete() |> ignore
    path

/// The pack as version 1 had it: names at 96, neither sums nor check sum.
let private asVersion1 (path: string) =
    let bytes = File.ReadAllBytes path
    let length = BitConverter.ToInt32(bytes, 12)
    Array.blit bytes 192 bytes 96 (length - 192)
    Array.fill bytes (length - 96) 96 0uy
    bytes[8] <- 1uy
    BitConverter.GetBytes(length - 96).CopyTo(bytes, 12)
    File.WriteAllBytes(path, bytes)

let private truth =
    [
        for c in 0..2 ->
            let values = [ for i in c..3 .. pixels.Length - 1 -> float pixels[i] / 255. ]
            let mean = List.average values
            mean, sqrt (values |> List.averageBy (fun x -> (x - mean) ** 2.))
    ]

let private hasTruth (s: ChannelStatistics) =
    for (mean, deviation), m, d in Seq.zip3 truth s.Mean s.Deviation do
        Expect.floatClose Accuracy.veryHigh m mean "mean"
        Expect.floatClose Accuracy.veryHigh d deviation "deviation"

let private verify root =
    DatasetCatalogue.Verify(root, "mine", "train") |> ignore

[<Tests>]
let tests =
    testList
        "data packs"
        [
            test "mean and deviation of the channels, from the header, from memory and of older packs" {
                withFolder (fun root ->
                    let path = write root
                    hasTruth (DatasetCatalogue.Statistics(root, "mine", "train"))
                    use memory = ImageStore.FromMemory("x", shape, pixels, Array.zeroCreate 9, classes, "train")
                    hasTruth memory.Statistics
                    use part = memory.Part(ReadOnlySpan [| 3 |], "some")
                    hasTruth part.Statistics

                    let before = DatasetCatalogue.Info(root, "mine", "train")
                    asVersion1 path
                    hasTruth (DatasetCatalogue.Statistics(root, "mine", "train"))
                    verify root

                    Expect.equal
                        (DatasetCatalogue.Info(root, "mine", "train")).Fingerprint
                        before.Fingerprint
                        "content")
            }

            test "the sums are exact where floating point is not" {
                // One value in a hundred thousand differs: the deviation is lost where squares are summed in 32 bits.
                let count = 100_000
                let bytes = Array.create count 255uy
                bytes[77_777] <- 254uy
                use store = ImageStore.FromMemory("x", ImageShape(1, count, 1), bytes, [| 0 |], [| "a" |], "train")
                let n = float count
                Expect.floatClose Accuracy.veryHigh store.Statistics.Mean[0] ((n * 255. - 1.) / (n * 255.)) "mean"

                Expect.floatClose
                    Accuracy.veryHigh
                    store.Statistics.Deviation[0]
                    (sqrt ((n - 1.) / n / n) / 255.)
                    "deviation"
            }

            test "verify finds every flipped bit" {
                withFolder (fun root ->
                    let path = write root
                    let whole = File.ReadAllBytes path
                    let header = BitConverter.ToInt32(whole, 12)

                    let bits =
                        [
                            for at in 0 .. whole.Length - 1 do
                                if at < header then
                                    for bit in 0..7 do
                                        yield at, bit
                                elif at % 8 = 0 || at >= 4096 && at < 4096 + pixels.Length || at >= 8192 then
                                    yield at, at % 8
                        ]

                    for at, bit in bits do
                        let bytes = Array.copy whole
                        bytes[at] <- bytes[at] ^^^ (1uy <<< bit)
                        File.WriteAllBytes(path, bytes)
                        let text = messageOf<DataException, _>(fun () -> verify root)
                        Expect.isFalse (text.Contains '\n') "one line"

                    File.WriteAllBytes(path, whole)
                    verify root)
            }

            test "headers with numbers out of range are refused" {
                withFolder (fun root ->
                    let path = write root
                    let whole = File.ReadAllBytes path

                    // With and without a check sum to catch it.
                    for old in [ false; true ] do
                        File.WriteAllBytes(path, whole)

                        if old then
                            asVersion1 path

                        let whole = File.ReadAllBytes path

                        for offset, size in [ 12, 4; 16, 8; 24, 4; 28, 4; 32, 4; 36, 4; 40, 8; 48, 8; 56, 8 ] do
                            for value in [ Int64.MinValue; -1L; 0L; 1L <<< 30; Int64.MaxValue; 0x7fffffffL ] do
                                let bytes = Array.copy whole
                                Array.blit (BitConverter.GetBytes value) 0 bytes offset size

                                if bytes <> whole then
                                    File.WriteAllBytes(path, bytes)

                                    Expect.throwsT<DataException>
                                        (fun () -> ImageStore.Open(path).Dispose())
                                        $"{value} at {offset}")
            }

            test "what no pack can hold is refused when it is written" {
                withFolder (fun folder ->
                    let writing shape (names: string[]) () =
                        use w = new PackWriter(Path.Combine(folder, "p.sslpack"), "mine", "train", shape, names)
                        w.Count

                    for shape in
                        [
                            ImageShape(40_000, 8, 3)
                            ImageShape(8, 40_000, 3)
                            ImageShape(8, 8, 5)
                            ImageShape(0, 8, 3)
                            ImageShape(32_768, 32_768, 4)
                        ] do
                        Expect.stringContains
                            (messageOf<DataException, _>(writing shape classes))
                            (string shape)
                            "names the shape"

                    Expect.stringContains
                        (messageOf<DataException, _>(writing shape [| "a\nb" |]))
                        "line break"
                        "names the class"

                    Expect.isEmpty (filesBelow folder) "nothing left")
            }

            test "a pack that is cut while it is open is one error for every reader" {
                withFolder (fun root ->
                    let path = write root
                    use store = ImageStore.Open path
                    let whole = File.ReadAllBytes path
                    use other = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite)
                    other.SetLength 4096L
                    Threading.Thread.Sleep 20

                    let refused read =
                        Expect.stringContains (messageOf<DataException, _> read) "cut while it was in use" "message"

                    refused (fun () -> store.Pixels(8L).Length)
                    refused (fun () -> store.ComputeFingerprint())

                    let pipeline =
                        ViewPipeline(shape, [||], ChannelNormalisation([ 0.5f; 0.5f; 0.5f ], [ 0.2f; 0.2f; 0.2f ]))

                    for workers in [ 0; 2 ] do
                        use loader =
                            new Loader<_>(
                                store,
                                OneViewAugmenter pipeline,
                                LoaderOptions(4, 1UL, workers, 1, true),
                                torch.CPU,
                                0L
                            )

                        let error = messageOf<LoaderException, _>(fun () -> loader.Next())
                        Expect.stringContains error "cut while it was in use" "the loader's"

                    use extractor = torch.NewDisposeScope()

                    refused (fun () ->
                        SslResearch.Core.Evaluation.FeatureExtractor.Extract(
                            null,
                            "h",
                            null,
                            store,
                            pipeline.Normalisation,
                            4,
                            torch.CPU,
                            Threading.CancellationToken.None
                        ))

                    other.Position <- 0L
                    other.Write(whole, 0, whole.Length)
                    other.Flush()
                    Threading.Thread.Sleep 20
                    Expect.equal (store.ComputeFingerprint()) store.Fingerprint "it goes on where the bytes are back")
            }

            test "a pipe is no pack" {
                withFolder (fun folder ->
                    let path = Path.Combine(folder, "p.sslpack")

                    use made = Diagnostics.Process.Start("mkfifo", [ path ])
                    made.WaitForExit()

                    Expect.stringContains
                        (messageOf<DataException, _>(fun () -> ImageStore.Open path))
                        "a pipe"
                        "not opened")
            }

            test "the names of a header are read as they were written" {
                withFolder (fun root ->
                    let path = write root
                    use store = ImageStore.Open path
                    Expect.equal (store.Name, store.Split) ("mine", "train") "name and split"
                    Expect.sequenceEqual store.ClassNames classes "classes"
                    Expect.stringContains (Encoding.UTF8.GetString(File.ReadAllBytes path)) "b c" "UTF-8")
            }
        ]

[<Tests>]
let environment =
    testList
        "cache folder"
        [
            let under (xdg: string) (home: string) work =
                let names = [ "XDG_CACHE_HOME"; "HOME"; DataRoot.Variable ]
                let before = names |> List.map Environment.GetEnvironmentVariable

                try
                    List.iter2
                        (fun name (value: string) -> Environment.SetEnvironmentVariable(name, value))
                        names
                        [ xdg; home; null ]

                    work ()
                finally
                    List.iter2
                        (fun name (value: string) -> Environment.SetEnvironmentVariable(name, value))
                        names
                        before

            test "XDG_CACHE_HOME, then HOME; a relative one is ignored" {
                Expect.equal (under "/x" "/h" (fun () -> DataRoot.Resolve null)) "/x/sslr/data" "given"

                for xdg in [ null; ""; "relative" ] do
                    Expect.equal (under xdg "/h" (fun () -> DataRoot.Resolve null)) "/h/.cache/sslr/data" $"'{xdg}'"
            }

            test "without a home it is one error that names the ways out, and no folder of the current directory" {
                let text =
                    under null "relative" (fun () ->
                        messageOf<SslResearch.Core.Runtime.TorchRuntimeException, _>(fun () -> DataRoot.Resolve null))

                for part in [ "HOME"; "XDG_CACHE_HOME"; "--data"; "SSLR_DATA" ] do
                    Expect.stringContains text part "message"

                Expect.equal (under null "relative" (fun () -> DataRoot.Resolve "/d")) "/d" "data elsewhere"
            }
        ]

/// Folders and archives as people have them: links, layouts, what is left out, what is there already.
module Tests.Core.DataFoldersTests

open System
open System.IO
open System.Threading
open System.Threading.Tasks
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles
open Tests.Support.Refusals

let private image label number = flat 8 label number

let private options split skip replace : ImportOptions =
    ImportOptions(split, ResizeRule.None(), Nullable(), skip, null, Replace = replace)

/// Within seconds, or the test fails: a circle must not be walked for ever.
let private soon (work: unit -> 'a) =
    let task = Task.Run work

    if not (task.Wait(TimeSpan.FromSeconds 20.)) then
        failtest "does not end"

    task.Result

let private leftOut (outcome: ImportOutcome) =
    [ for l in outcome.LeftOut -> string l ]

let private counts (outcome: ImportOutcome) =
    [ for s in outcome.Splits -> s.Split, s.Count ]

let private contents root =
    filesBelow root
    |> Array.map (fun f -> f, Convert.ToHexString(File.ReadAllBytes(Path.Combine(root, f))))

/// The same entries as a folder, a .tar and a .zip; a folder's entries for directories are left to the paths.
let private sources folder entries =
    [
        "folder", writeFolder (Path.Combine(folder, "set")) entries
        "tar", tarFile (Path.Combine(folder, "set.tar")) entries
        "zip", zipFile (Path.Combine(folder, "set.zip")) entries
    ]

let private root folder = Path.Combine(folder, "root")

[<Tests>]
let tests =
    testList
        "data folders"
        [
            test "links in a circle are named, and every image is read once" {
                withFolder (fun folder ->
                    let source =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            (smallSet 8
                             @ [
                                 Link("train/cat/up", "..")
                                 Link("train/dog/again", "../cat")
                                 Link("self", ".")
                                 Folder ".hidden"
                                 Link(".hidden/circle", ".")
                             ])

                    let outcome = soon (fun () -> importTo (root folder) source plain)
                    Expect.equal (counts outcome) [ "test", 4; "train", 4 ] "once"

                    Expect.equal
                        (leftOut outcome)
                        [
                            "4 links to folders that are read under their own names (.hidden/circle, self, train/cat/up, …)"
                        ]
                        "named")
            }

            test "links inside the folder are read, links out of it are named" {
                withFolder (fun folder ->
                    File.WriteAllBytes(Path.Combine(folder, "outside.png"), image 0 9)
                    Directory.CreateDirectory(Path.Combine(folder, "elsewhere")) |> ignore
                    File.WriteAllBytes(Path.Combine(folder, "elsewhere", "1.png"), image 0 9)

                    let entries =
                        [
                            for split in [ "train"; "test" ] do
                                File($"{split}/dog/0.png", image 1 0)
                            File(".store/cats/0.png", image 0 0)
                            Link("train/cat", "../.store/cats")
                            Folder "test/cat"
                            Link("test/cat/a.png", "../../.store/cats/0.png")
                            Link("train/dog/out.png", "../../../outside.png")
                            Link("train/dog/more", Path.Combine(folder, "elsewhere"))
                        ]

                    // By a link, too.
                    writeFolder (Path.Combine(folder, "set")) entries |> ignore

                    File.CreateSymbolicLink(Path.Combine(folder, "way"), Path.Combine(folder, "set"))
                    |> ignore

                    let outcome = importTo (root folder) (Path.Combine(folder, "way")) plain
                    Expect.equal (flatContent (root folder) "train") [ 0, 0, 0; 1, 1, 0 ] "through a folder's link"
                    Expect.equal (flatContent (root folder) "test") [ 0, 0, 0; 1, 1, 0 ] "through a file's link"

                    Expect.equal
                        (leftOut outcome)
                        [
                            "1 hidden file (.store/cats/0.png)"
                            "2 links out of the folder (train/dog/more, train/dog/out.png)"
                        ]
                        "named")
            }

            test "a class whose folder is a link out of the source is an error, not a missing class" {
                withFolder (fun folder ->
                    Directory.CreateDirectory(Path.Combine(folder, "elsewhere")) |> ignore

                    let source =
                        writeFolder
                            (Path.Combine(folder, "set"))
                            (smallSet 8 @ [ Link("train/emu", Path.Combine(folder, "elsewhere")) ])

                    let text = messageOf<DataException, _>(fun () -> importTo (root folder) source plain)

                    for part in [ "train/emu"; "no images"; "1 link out of the folder" ] do
                        Expect.stringContains text part "message")
            }

            test "a split of which nothing is left is an error, whether its folder is empty or a link out of the source" {
                withFolder (fun folder ->
                    Directory.CreateDirectory(Path.Combine(folder, "elsewhere")) |> ignore

                    for name, entry in
                        [
                            "empty", Folder "val"
                            "link", Link("val", Path.Combine(folder, "elsewhere"))
                        ] do
                        let source = writeFolder (Path.Combine(folder, name)) (smallSet 8 @ [ entry ])

                        Expect.stringContains
                            (messageOf<DataException, _>(fun () -> importTo (root folder) source plain))
                            "Split 'val'"
                            name)
            }

            test "what is left out is counted and named, the same in folders and archives" {
                withFolder (fun folder ->
                    let bytes = [| 1uy |]

                    let entries =
                        smallSet 8
                        @ [
                            File("train/.DS_Store", bytes)
                            File("train/cat/.hidden.png", bytes)
                            File("__MACOSX/train/cat/._0.png", bytes)
                            for i in 1..4 do
                                File($"train/cat/notes{i}.txt", bytes)
                            File("labels.csv", bytes)
                        ]

                    for name, source in sources folder entries do
                        let outcome = importTo (Path.Combine(folder, name + "-root")) source plain

                        Expect.equal
                            (leftOut outcome)
                            [
                                "2 hidden files (train/.DS_Store, train/cat/.hidden.png)"
                                "1 in __MACOSX (__MACOSX/train/cat/._0.png)"
                                "5 with unknown extension (labels.csv, train/cat/notes1.txt, train/cat/notes2.txt, …)"
                            ]
                            name)
            }

            testList
                "a class of which nothing is left is an error, the same in folders and archives"
                [
                    for name, extra, skip in
                        [
                            "unknown extensions", File("train/emu/0.heic", [| 1uy |]), false
                            "hidden files", File("train/emu/.0.png", [| 1uy |]), false
                            "corrupt images", File("train/emu/0.png", [| 1uy |]), true
                        ] do
                        test name {
                            withFolder (fun folder ->
                                for kind, source in sources folder (smallSet 8 @ [ extra ]) do
                                    let text =
                                        messageOf<DataException, _>(fun () ->
                                            importTo (root folder) source (options null skip false))

                                    Expect.stringContains text "'train/emu'" kind
                                    Expect.isEmpty (filesBelow (root folder)) kind)
                        }
                ]

            test "images without class folders have no labels" {
                withFolder (fun folder ->
                    let layouts =
                        [
                            "flat", [ "1.png"; "2.png" ], null, [ "train", 2 ]
                            "flat, stated", [ "1.png"; "2.png" ], "test", [ "test", 2 ]
                            "in one folder", [ "photos/1.png"; "photos/2.png" ], null, [ "train", 2 ]
                            "splits", [ "train/1.png"; "train/2.png"; "val/3.png" ], null, [ "train", 2; "val", 1 ]
                        ]

                    for name, paths, split, expected in layouts do
                        let source =
                            tarFile
                                (Path.Combine(folder, name + ".tar"))
                                [ for i, path in List.indexed paths -> File(path, image 5 i) ]

                        let at = Path.Combine(folder, name)
                        let outcome = importTo at source (options split false false)
                        Expect.equal (counts outcome) expected name
                        let info = DatasetCatalogue.Info(at, "small", fst expected.Head)
                        Expect.equal (info.Unlabelled, info.ClassNames.Count) (info.Count, 0) name)
            }

            test "one class with a stated split stays a class" {
                withFolder (fun folder ->
                    let source = writeFolder (Path.Combine(folder, "set")) [ File("cat/1.png", image 0 1) ]

                    importTo (root folder) source (options "train" false false) |> ignore
                    let info = DatasetCatalogue.Info(root folder, "small", "train")
                    Expect.sequenceEqual info.ClassNames [ "cat" ] "a class")
            }

            test "val, valid and validation stand in for a missing test split, in this order" {
                withFolder (fun folder ->
                    for split in [ "validation"; "valid"; "val"; "test" ] do
                        let source = writeFolder (Path.Combine(folder, split)) [ File("cat/1.png", image 0 1) ]

                        importTo (root folder) source (options split false false) |> ignore
                        Expect.equal (DatasetCatalogue.TestSplit(root folder, "small")) split "stands in"

                    Expect.isNull (DatasetCatalogue.TestSplit(root folder, "other")) "none")
            }

            test "what is there is replaced only when that is said" {
                withFolder (fun folder ->
                    let set name splits label =
                        writeFolder
                            (Path.Combine(folder, name))
                            [
                                for split in splits do
                                    for class' in [ "cat"; "dog" ] -> File($"{split}/{class'}/0.png", image label 0)
                            ]

                    let first = set "first" [ "train"; "val" ] 1
                    let other = set "other" [ "train"; "test" ] 2
                    let single = Path.Combine(set "single" [ "test" ] 3, "test")
                    importTo (root folder) first plain |> ignore
                    let before = contents (root folder)

                    let refused source options parts =
                        let text = messageOf<DataException, _>(fun () -> importTo (root folder) source options)

                        for part in parts do
                            Expect.stringContains text part "message"

                        Expect.equal (contents (root folder)) before "as it was"

                    refused
                        other
                        plain
                        [
                            "already: train (2 images of 8x8x3, 2 classes), val (2 images of 8x8x3, 2 classes)"
                            "--replace"
                            "--split NAME"
                        ]

                    refused single (options "val" false false) [ "Replace 'val' with --replace" ]
                    // A failed replacement, and a stopped one.
                    let bad =
                        writeFolder
                            (Path.Combine(folder, "bad"))
                            [ File("train/cat/0.png", image 0 0); File("test/dog/0.png", image 0 0) ]

                    refused bad replacing [ "different classes" ]
                    use stop = new CancellationTokenSource()
                    stop.Cancel()

                    Expect.throwsT<OperationCanceledException>
                        (fun () ->
                            Importers.Import("small", other, root folder, replacing, null, stop.Token)
                            |> ignore)
                        "stopped"

                    Expect.equal (contents (root folder)) before "as it was"

                    // A split that is missing is added where it is stated.
                    importTo (root folder) single (options "test" false false) |> ignore

                    Expect.sequenceEqual
                        (DatasetCatalogue.Splits(root folder, "small"))
                        [ "test"; "train"; "val" ]
                        "added"
                    // The whole dataset: no split of the old one stays, and no other file of its folder goes.
                    let note = Path.Combine(root folder, "small", "note.txt")
                    File.WriteAllText(note, "mine")
                    importTo (root folder) other replacing |> ignore
                    Expect.sequenceEqual (DatasetCatalogue.Splits(root folder, "small")) [ "test"; "train" ] "whole"
                    Expect.equal (flatContent (root folder) "train") [ 0, 2, 0; 1, 2, 0 ] "the new one"
                    Expect.equal (File.ReadAllText note) "mine" "not ours"
                    Expect.equal (Directory.GetFileSystemEntries(root folder).Length) 1 "nothing beside it"
                    // One split.
                    importTo (root folder) single (options "test" false true) |> ignore
                    Expect.equal (flatContent (root folder) "test") [ 0, 3, 0; 1, 3, 0 ] "the split"
                    Expect.equal (flatContent (root folder) "train") [ 0, 2, 0; 1, 2, 0 ] "the other stays")
            }

            test "what a killed replacement left is removed by the next import" {
                withFolder (fun folder ->
                    let left = Path.Combine(root folder, ".small.0123.tmp")
                    Directory.CreateDirectory left |> ignore
                    File.WriteAllText(Path.Combine(left, "train.sslpack"), "x")
                    Directory.SetLastWriteTimeUtc(left, DateTime.UtcNow.AddHours -1.)
                    Expect.isEmpty (DatasetCatalogue.List(root folder)) "no dataset"

                    importTo (root folder) (writeFolder (Path.Combine(folder, "s")) (smallSet 8)) plain
                    |> ignore

                    Expect.isFalse (Directory.Exists left) "gone")
            }

            test "folders change places" {
                withFolder (fun folder ->
                    let at name = Path.Combine(folder, name)

                    for name in [ "a"; "b" ] do
                        Directory.CreateDirectory(at name) |> ignore
                        File.WriteAllText(Path.Combine(at name, "which"), name)

                    FolderSwap.Exchange(at "a", at "b")
                    Expect.equal (File.ReadAllText(Path.Combine(at "a", "which"))) "b" "exchanged"
                    Expect.equal (File.ReadAllText(Path.Combine(at "b", "which"))) "a" "exchanged"
                    Expect.equal (Directory.GetDirectories folder).Length 2 "nothing else")
            }
        ]

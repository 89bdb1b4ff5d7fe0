/// Folders of frames become clips.
module Tests.Core.SequenceImportTests

open System
open System.IO
open Expecto
open SslResearch.Core.Data
open Tests.Support.DataFiles

let private options split (resize: ResizeRule) skip frames stride =
    ImportOptions(split, resize, Nullable(), skip, null, Clips = ClipCut(frames, stride))

let private none: ResizeRule = ResizeRule.None()

let private cut frames stride = options null none false frames stride

/// A sequence of so many frames that tell sequence and number.
let private sequence folder side label count =
    [ for i in 0 .. count - 1 -> File($"{folder}/{i:D3}.png", flat side label i) ]

let private inside folder =
    function
    | File(path, bytes) -> File($"{folder}/{path}", bytes)
    | other -> other

let private films side =
    sequence "train/walk" side 1 7
    @ sequence "train/run" side 2 4
    @ sequence "test/jump" side 3 4

/// First bytes of red and green of every frame of every clip: sequence and number of the frame.
let private content root split =
    use store = DatasetCatalogue.Open(root, "small", split)
    let frames, frame = FrameStrip.Frames store.Shape, FrameStrip.Frame(store.Shape).Bytes

    [
        for i in 0 .. store.Count - 1 do
            Expect.equal (store.Label(int64 i)) -1 "no label"
            let pixels = store.Pixels(int64 i).ToArray()
            [ for t in 0 .. frames - 1 -> int pixels[t * frame], int pixels[t * frame + 1] ]
    ]

let private clip label numbers = [ for n in numbers -> label, n ]

let private refusal source options =
    withFolder (fun folder ->
        let root = Path.Combine(folder, "root")
        let at = writeFolder (Path.Combine(folder, "set")) source

        let text =
            try
                importTo root at options |> ignore
                failtest "imported"
            with :? DataException as e ->
                e.Message

        Expect.isFalse (text.Contains '\n') "one line"
        Expect.isEmpty (filesBelow root) "nothing left"
        text)

[<Tests>]
let tests =
    testList
        "sequence import"
        [
            test "sequences are cut into clips one after the other, in ordinal order, from folders and archives" {
                let makers =
                    [
                        fun at -> writeFolder (Path.Combine(at, "set")) (films 8)
                        fun at -> tarGzFile (Path.Combine(at, "set.tar.gz")) (List.rev (films 8))
                        fun at -> zipFile (Path.Combine(at, "set.zip")) (films 8)
                    ]

                for make in makers do
                    withFolder (fun folder ->
                        let root = Path.Combine(folder, "root")
                        let outcome = importTo root (make folder) (cut 3 1)
                        Expect.equal [ for s in outcome.Splits -> s.Split, s.Count ] [ "test", 1; "train", 3 ] "counts"
                        Expect.equal outcome.Splits[0].Shape (ImageShape(24, 8, 3)) "strip"

                        Expect.equal
                            (content root "train")
                            [ clip 2 [ 0; 1; 2 ]; clip 1 [ 0; 1; 2 ]; clip 1 [ 3; 4; 5 ] ]
                            "train"

                        Expect.equal (content root "test") [ clip 3 [ 0; 1; 2 ] ] "test")
            }

            test "a stride keeps every n-th frame" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = writeFolder (Path.Combine(folder, "set")) (films 8)
                    importTo root source (cut 2 2) |> ignore

                    Expect.equal (content root "train") [ clip 2 [ 0; 2 ]; clip 1 [ 0; 2 ]; clip 1 [ 4; 6 ] ] "train")
            }

            test "without folders of splits the split is stated; folders around and inside are allowed" {
                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")

                    let source =
                        sequence "films/b/one" 8 1 3
                        @ sequence "films/b/two" 8 2 3
                        @ sequence "films/a" 8 3 4
                        |> writeFolder (Path.Combine(folder, "set"))

                    let outcome = importTo root source (options "train" none false 3 1)
                    Expect.equal [ for s in outcome.Splits -> s.Split, s.Count ] [ "train", 3 ] "counts"

                    Expect.equal
                        (content root "train")
                        [ clip 3 [ 0..2 ]; clip 1 [ 0..2 ]; clip 2 [ 0..2 ] ]
                        "order of folders")
            }

            test "frames that are not square are cut by the resize rule" {
                let wide =
                    [
                        for i in 0..2 -> File($"train/a/{i}.png", png 6 12 (fun _ _ -> 1uy, byte i, 0uy))
                    ]

                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = writeFolder (Path.Combine(folder, "set")) wide
                    let rule: ResizeRule = ResizeRule.ShorterSideThenCentreCrop 4
                    let outcome = importTo root source (options null rule false 3 1)
                    Expect.equal outcome.Splits[0].Shape (ImageShape(12, 4, 3)) "strip"
                    Expect.equal (content root "train") [ clip 1 [ 0; 1; 2 ] ] "content")

                let text = refusal wide (cut 3 1)
                Expect.stringContains text "6x12x3" "size"
                Expect.stringContains text "--resize" "mend"
            }

            test "a corrupt frame is named and counted; skipping drops its clip alone" {
                let bad = [| 1uy; 2uy; 3uy |]
                let damaged = films 8 @ [ File("train/walk/004.png", bad); File("train/walk/006.png", bad) ]
                let text = refusal damaged (cut 3 1)

                // The seventh frame belongs to no clip.
                for word in [ "1 of 12 frames"; "train/walk/004.png"; "--skip-corrupt" ] do
                    Expect.stringContains text word word

                withFolder (fun folder ->
                    let root = Path.Combine(folder, "root")
                    let source = writeFolder (Path.Combine(folder, "set")) damaged
                    let outcome = importTo root source (options null none true 3 1)
                    Expect.equal outcome.Skipped.Count 1 "named"
                    Expect.stringContains outcome.Skipped[0] "train/walk/004.png" "named"
                    Expect.equal (content root "train") [ clip 2 [ 0..2 ]; clip 1 [ 0..2 ] ] "the clips that are whole")

                let all = [ for i in 0..2 -> File($"train/a/{i}.png", bad) ]
                Expect.stringContains (refusal all (options null none true 3 1)) "no clip of 3 frames" "nothing left"
            }

            test "sequences that are too short: one message that counts and names them" {
                let text = refusal (films 8) (cut 5 1)

                for word in [ "2 of 3 sequences"; "'test/jump' has 4"; "'train/run' has 4"; "--frames" ] do
                    Expect.stringContains text word word

                Expect.stringContains (refusal (films 8) (cut 3 3)) "need 7" "with a stride"
            }

            test "sources that are no films are refused" {
                let refused source options word =
                    Expect.stringContains (refusal source options) word word

                refused [ File("readme.txt", [| 1uy |]) ] (cut 3 1) "holds no frames"
                refused (sequence "a" 8 1 3 @ sequence "b" 8 1 3) (cut 3 1) "--split"
                refused (sequence "train" 8 1 3) (cut 3 1) "lies in no sequence's folder"
                refused (films 8) (options "train" none false 3 1) "own splits"
                refused (Folder "val" :: films 8) (cut 3 1) "Split 'val'"

                refused
                    (File("set/valid/notes.txt", [| 1uy |])
                     :: Folder "set/valid"
                     :: List.map (inside "set") (films 8))
                    (cut 3 1)
                    "Split 'set/valid'"

                refused (films 8) (cut 1 1) "at least 2 frames"
                refused (films 8) (cut 3 0) "received 3 and 0"
                refused (films 8 @ sequence "train/wide" 9 1 3) (cut 3 1) "Image sizes differ"

                refused
                    [ for i in 0..2 -> File($"{i}.png", flat 8 0 i) ]
                    (options "train" none false 3 1)
                    "lies in no sequence's folder"
            }
        ]

module Tests.Core.SafetensorsTests

open System
open System.Buffers.Binary
open System.Collections.Generic
open System.IO
open System.Text
open Expecto
open SslResearch.Core.Training
open TorchSharp

let private inFile (act: string -> unit) =
    let path = Path.Combine(Path.GetTempPath(), $"sslr-{Guid.NewGuid():N}.safetensors")

    try
        act path
    finally
        File.Delete path

let private write path (tensors: (string * torch.Tensor) list) metadata =
    Safetensors.Write(path, [ for n, t in tensors -> KeyValuePair(n, t) ], dict metadata |> Dictionary)

let private raw (header: string) (data: byte[]) =
    let text = Encoding.UTF8.GetBytes header
    let length: byte[] = Array.zeroCreate 8
    BinaryPrimitives.WriteUInt64LittleEndian(length.AsSpan(), uint64 text.Length)
    Array.concat [| length; text; data |]

let private bytesOf (t: torch.Tensor) =
    use c = t.contiguous ()
    c.bytes.ToArray()

[<Tests>]
let tests =
    testList
        "safetensors"
        [
            test "every type, shape and layout comes back" {
                inFile (fun path ->
                    use scope = torch.NewDisposeScope()

                    let tensors =
                        [
                            for t in
                                [
                                    torch.float64
                                    torch.int64
                                    torch.float32
                                    torch.int32
                                    torch.float16
                                    torch.bfloat16
                                    torch.int16
                                    torch.uint8
                                    torch.int8
                                    torch.``bool``
                                ] do
                                yield $"t {t}", torch.arange(0L, 6L).reshape(2L, 3L).``to`` t
                            yield "scalar", torch.tensor 3.5f
                            yield "empty", torch.zeros (0L, 4L)
                            yield "channels last", torch.randn(2L, 5L, 3L, 4L).permute(0L, 3L, 1L, 2L)
                            yield "view", torch.arange(20L).narrow(0, 5L, 7L)
                            yield "naïve \"name\"\\", torch.ones 1L
                        ]

                    write path tensors [ "note", "a \"quoted\" text\n"; "empty", "" ]
                    use file = SafetensorsFile.Open path

                    Expect.equal
                        (Seq.sort file.Entries.Keys |> Seq.toList)
                        (tensors |> List.map fst |> List.sort)
                        "names"

                    Expect.equal file.Metadata["note"] "a \"quoted\" text\n" "metadata"
                    Expect.isTrue (file.IsIntact()) "hash"

                    for name, t in tensors do
                        let back = file.Read name
                        Expect.equal (back.dtype, back.shape) (t.dtype, t.shape) name
                        Expect.equal (bytesOf back) (bytesOf t) name

                        let into = torch.zeros_like t
                        file.ReadInto(name, into)
                        Expect.equal (bytesOf into) (bytesOf t) $"into {name}"

                    for e in file.Entries.Values do
                        if e.Bytes > 0L then
                            Expect.equal
                                (e.Offset % (e.Bytes / (e.Shape |> Seq.fold (*) 1L)))
                                0L
                                $"{e.Name} is aligned"

                    Expect.throwsT<SafetensorsException> (fun () -> file.Read "none" |> ignore) "no such tensor"

                    Expect.throwsT<SafetensorsException>
                        (fun () -> file.ReadInto("scalar", torch.zeros 2L))
                        "another shape")
            }

            test "the bytes are those of the format's own writer" {
                // {"b": int64 [1, 2], "a": float32 [[0.5]]} as the reference implementation lays it out: larger elements first.
                inFile (fun path ->
                    use b = torch.tensor [| 1L; 2L |]
                    use a = torch.tensor([| 0.5f |]).reshape(1L, 1L)
                    write path [ "a", a; "b", b ] []
                    let bytes = File.ReadAllBytes path
                    let length = int (BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan()))
                    Expect.equal ((length + 8) % 8) 0 "data starts on 8 bytes"
                    let header = Encoding.UTF8.GetString(bytes, 8, length)

                    Expect.stringContains
                        (header.TrimEnd ' ')
                        "\"b\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},\"a\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[16,20]}}"
                        "header"

                    Expect.equal
                        bytes[8 + length ..]
                        (Array.concat
                            [
                                BitConverter.GetBytes 1L
                                BitConverter.GetBytes 2L
                                BitConverter.GetBytes 0.5f
                            ])
                        "data")
            }

            test "a file from elsewhere: any order, no metadata, padded header" {
                inFile (fun path ->
                    let header =
                        """{"x":{"data_offsets":[4,8],"shape":[],"dtype":"F32"},"y":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}   """

                    File.WriteAllBytes(
                        path,
                        raw header (Array.append [| 1uy; 2uy; 3uy; 4uy |] (BitConverter.GetBytes 1.5f))
                    )

                    use file = SafetensorsFile.Open path
                    use x = file.Read "x"
                    use y = file.Read "y"
                    Expect.equal (x.item<float32>()) 1.5f "x"
                    Expect.equal (bytesOf y) [| 1uy; 2uy; 3uy; 4uy |] "y")
            }

            for name, bytes, part in
                [
                    "empty", [||], "is no safetensors file"
                    "short", [| 1uy; 2uy |], "is no safetensors file"
                    "a huge header", Array.create 16 255uy, "is truncated or no safetensors file"
                    "a header longer than the file",
                    Array.append [| 100uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy |] "{}"B,
                    "is truncated"
                    "no JSON", raw "hello world" [||], "does not start with '{'"
                    "half JSON", raw "{\"a\":" [||], "malformed header"
                    "text that is no UTF-8",
                    Array.append [| 3uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy |] [| byte '{'; 255uy; byte '}' |],
                    "malformed header"
                    "an unknown type",
                    raw """{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}""" [| 0uy |],
                    "the type F8"
                    "a negative size",
                    raw """{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}""" [| 0uy |],
                    "negative size"
                    "an overflowing size",
                    raw
                        """{"a":{"dtype":"F64","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}"""
                        [||],
                    "impossible shape"
                    "offsets that do not fit",
                    raw """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""" (Array.zeroCreate 4),
                    "do not fit"
                    "reversed offsets",
                    raw """{"a":{"dtype":"U8","shape":[0],"data_offsets":[4,2]}}""" (Array.zeroCreate 4),
                    "do not fit"
                    "a fraction as size",
                    raw """{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}""" [| 0uy |],
                    "malformed header"
                    "three offsets",
                    raw """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}""" [| 0uy |],
                    "lacks a valid"
                    "overlapping tensors",
                    raw
                        """{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"""
                        (Array.zeroCreate 3),
                    "overlap"
                    "a gap",
                    raw
                        """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"""
                        (Array.zeroCreate 3),
                    "gap"
                    "truncated data",
                    raw """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""" (Array.zeroCreate 3),
                    "truncated"
                    "a tail",
                    raw """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}""" (Array.zeroCreate 5),
                    "tail"
                    "the same name twice",
                    raw
                        """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"""
                        (Array.zeroCreate 2),
                    "twice"
                    "metadata that is no text", raw """{"__metadata__":{"a":1}}""" [||], "no text"
                ] do
                test $"malformed: {name}" {
                    inFile (fun path ->
                        File.WriteAllBytes(path, bytes)

                        try
                            (SafetensorsFile.Open path).Dispose()
                            failtest "accepted"
                        with :? SafetensorsException as e ->
                            Expect.stringContains e.Message part "message"
                            Expect.stringContains e.Message path "names the file")
                }

            test "a missing file and a type that the format lacks" {
                inFile (fun path ->
                    Expect.throwsT<SafetensorsException> (fun () -> (SafetensorsFile.Open path).Dispose()) "missing"
                    use z = torch.zeros (2L, torch.complex64)
                    Expect.throwsT<SafetensorsException> (fun () -> write path [ "z", z ] []) "complex"
                    Expect.isFalse (File.Exists path) "nothing is left"

                    Expect.isEmpty
                        (Directory.GetFiles(Path.GetTempPath(), Path.GetFileName path + "*"))
                        "no temporary file either")
            }
        ]

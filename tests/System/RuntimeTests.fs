module Tests.Framework.RuntimeTests

open System
open System.IO
open System.IO.Compression
open System.Security.Cryptography
open System.Text
open Expecto
open SslResearch.Core.Runtime
open TorchSharp
open Tests.Support

let private need = "GLIBCXX_3.4.32"

/// TorchSharp's native part as its package holds it.
let private packaged =
    lazy
        (let packages =
            match Environment.GetEnvironmentVariable "NUGET_PACKAGES" with
            | null
            | "" -> Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".nuget", "packages")
            | folder -> folder

         let version = typeof<torch>.Assembly.GetName().Version.ToString 3
         let folder = Path.Combine(packages, "torchsharp", version)
         let file = Path.Combine(folder, "runtimes", "linux-x64", "native", "libLibTorchSharp.so")
         let package = Path.Combine(folder, $"torchsharp.{version}.nupkg")
         file, package)

/// A file of one section of version needs (two versions of one library) and its strings.
let private elf (versions: string list) =
    let image = Array.zeroCreate<byte> 1024

    let put (at: int) (bytes: byte[]) = bytes.CopyTo(image, at)

    let u16 at (value: int) =
        put at (BitConverter.GetBytes(uint16 value))

    let u32 at (value: int) = put at (BitConverter.GetBytes value)

    let u64 at (value: int) =
        put at (BitConverter.GetBytes(int64 value))

    put 0 [| 0x7fuy; byte 'E'; byte 'L'; byte 'F'; 2uy; 1uy |]
    let table, needs, strings = 64, 256, 512
    u64 0x28 table
    u16 0x3A 64
    u16 0x3C 2
    // Section 0: version needs, linked to section 1; section 1: strings.
    u32 (table + 4) 0x6ffffffe
    u64 (table + 24) needs
    u32 (table + 40) 1
    u32 (table + 64 + 4) 3
    u64 (table + 64 + 24) strings
    u16 needs 1
    u16 (needs + 2) versions.Length
    u32 (needs + 8) 16
    let mutable text = 1

    for i, version in List.indexed versions do
        let entry = needs + 16 + 16 * i
        u32 (entry + 8) text
        u32 (entry + 12) (if i = versions.Length - 1 then 0 else 16)
        Encoding.ASCII.GetBytes(version).CopyTo(image, strings + text)
        text <- text + version.Length + 1

    image, (fun i -> int (BitConverter.ToUInt16(image, needs + 16 + 16 * i + 4)))

/// A shared library (ELF64, x86-64) with one function, `ulong name(void)`, which yields the given word.
let private library (name: string) (word: uint64) =
    let image = Array.zeroCreate<byte> 4096
    let put (at: int) (bytes: byte[]) = bytes.CopyTo(image, at)

    let u16 at (value: int) =
        put at (BitConverter.GetBytes(uint16 value))

    let u32 at (value: int) = put at (BitConverter.GetBytes value)

    let u64 at (value: int) =
        put at (BitConverter.GetBytes(int64 value))

    let code, hash, symbols, strings, dynamic = 256, 512, 640, 768, 1024
    put 0 [| 0x7fuy; byte 'E'; byte 'L'; byte 'F'; 2uy; 1uy; 1uy |]
    u16 16 3 // ET_DYN
    u16 18 62 // EM_X86_64
    u32 20 1
    u64 32 64 // program headers
    u16 52 64
    u16 54 56
    u16 56 2

    let segment at kind offset size =
        u32 at kind
        u32 (at + 4) 7
        u64 (at + 8) offset
        u64 (at + 16) offset
        u64 (at + 24) offset
        u64 (at + 32) size
        u64 (at + 40) size
        u64 (at + 48) 4096

    segment 64 1 0 image.Length // PT_LOAD
    segment 120 2 dynamic 96 // PT_DYNAMIC

    // mov rax, word; ret
    put code [| 0x48uy; 0xB8uy |]
    put (code + 2) (BitConverter.GetBytes word)
    put (code + 10) [| 0xC3uy |]

    // One bucket, which leads to symbol 1.
    u32 hash 1
    u32 (hash + 4) 2
    u32 (hash + 8) 1
    u32 (symbols + 24) 1
    put (symbols + 28) [| 0x12uy; 0uy |]
    u16 (symbols + 30) 1
    u64 (symbols + 32) code
    u64 (symbols + 40) 11
    put (strings + 1) (Encoding.ASCII.GetBytes name)

    for i, (tag, value) in List.indexed [ 4, hash; 5, strings; 6, symbols; 10, name.Length + 2; 11, 24 ] do
        u64 (dynamic + 16 * i) tag
        u64 (dynamic + 16 * i + 8) value

    image

let private message (action: unit -> unit) =
    try
        action ()
        failtest "no error"
    with :? TorchRuntimeException as e ->
        e.Message

let private device name () = TorchRuntime.Device name |> ignore

/// One message, no stack trace.
let private expectClear (outcome: Repository.Outcome) =
    Expect.notEqual outcome.Code 0 "an error is an error to the caller"
    Expect.isFalse (outcome.All.Contains "   at ") $"no stack trace: {outcome.All}"

[<Tests>]
let tests =
    testList
        "runtime"
        [
            test "only the named version need becomes weak" {
                let image, flags = elf [ "GLIBCXX_3.4.30"; need; "GLIBC_2.2.5" ]
                Expect.isTrue (ElfVersionNeed.Weaken(image, need)) "changed"
                Expect.equal [ for i in 0..2 -> flags i ] [ 0; 2; 0 ] "flags"
                Expect.isFalse (ElfVersionNeed.Weaken(image, need)) "nothing is left to change"
                Expect.isFalse (ElfVersionNeed.Weaken(image, "GLIBCXX_9")) "a version that is not needed"
            }

            test "a file that is no ELF file is refused" {
                Expect.throwsT<InvalidDataException>
                    (fun () -> ElfVersionNeed.Weaken(Array.zeroCreate<byte> 100, need) |> ignore)
                    "zeros"
            }

            test "the packaged library differs from its weakened copy in one byte" {
                let file, _ = packaged.Value

                if not (File.Exists file) then
                    skiptest "skipped: no package cache"

                let before = File.ReadAllBytes file
                let after = Array.copy before
                Expect.isTrue (ElfVersionNeed.Weaken(after, need)) "it has the need"
                let changed = Seq.zip before after |> Seq.filter (fun (a, b) -> a <> b) |> Seq.toList
                Expect.hasLength changed 1 "one byte"
                let a, b = changed.Head
                Expect.equal (a ||| 2uy) b "the weak flag"
            }

            test "the package cache is as the package was" {
                let file, package = packaged.Value

                if not (File.Exists file && File.Exists package) then
                    skiptest "skipped: no package cache"

                use archive = ZipFile.OpenRead package
                use entry = (archive.GetEntry "runtimes/linux-x64/native/libLibTorchSharp.so").Open()
                use installed = File.OpenRead file
                Expect.equal (SHA256.HashData installed) (SHA256.HashData entry) "same bytes"
            }

            test "a second start keeps what is loaded" {
                let first = TorchRuntime.Initialise()
                Expect.equal (TorchRuntime.Initialise "/nowhere") first "no second libtorch in one process"
            }

            test "devices that cannot be used are named" {
                Expect.equal (TorchRuntime.Device "cpu").``type`` DeviceType.CPU "the CPU is there"
                Expect.stringContains (message (device "gpu")) "Unknown device 'gpu'" "unknown"
                Expect.stringContains (message (device "cuda:x")) "Unknown device 'cuda:x'" "no number"

                if TorchRuntime.Loaded.HasCuda then
                    skiptest "skipped: this libtorch has CUDA"

                let text = message (device "cuda")
                Expect.stringContains text "has no CUDA" "what is wrong"
                Expect.stringContains text "--torch-lib" "how to mend it"
                Expect.stringContains (message (device "cuda:1")) "--device cuda:1" "as it was given"
            }

            test "libtorch comes from the folder that was named" {
                let folder = TorchRuntime.Loaded.Folder
                let outcome = Repository.sslr [ "env"; "--torch-lib"; folder ]
                Expect.equal outcome.Code 0 outcome.All
                Expect.stringContains outcome.Output $"libtorch from {folder} (named" "where from"
                let variable = [ TorchRuntime.LibraryVariable, folder ]
                let program = Path.Combine(AppContext.BaseDirectory, "sslr.dll")
                let outcome = Repository.runWith variable Repository.root "dotnet" [ program; "env" ]
                Expect.stringContains outcome.Output $"libtorch from {folder} (named" "by the variable"
            }

            test "a folder without libtorch is one clear error" {
                Repository.inFolder (fun folder ->
                    let outcome = Repository.sslr [ "env"; "--torch-lib"; folder ]
                    expectClear outcome
                    Expect.stringContains outcome.All $"No libtorch_cpu.so in '{folder}'" "what is missing, and where"
                    let missing = Path.Combine(folder, "missing")
                    let outcome = Repository.sslr [ "env"; "--torch-lib"; missing ]
                    expectClear outcome
                    Expect.stringContains outcome.All missing "the folder")
            }

            test "a broken libtorch in the named folder is not passed over for another" {
                Repository.inFolder (fun folder ->
                    File.WriteAllText(Path.Combine(folder, "libtorch_cpu.so"), "not a library")
                    let outcome = Repository.sslr [ "env"; "--torch-lib"; folder ]
                    expectClear outcome
                    Expect.stringContains outcome.All "does not load" "what is wrong")
            }

            for verb in [ [ "env" ]; [ "run"; "compare" ] ] do
                test $"{verb.Head}: another libtorch than TorchSharp was built with is refused with its version" {
                    Repository.inFolder (fun folder ->
                        let refusal name word =
                            File.WriteAllBytes(Path.Combine(folder, "libtorch_cpu.so"), library name word)

                            let outcome =
                                Repository.sslr (
                                    verb
                                    @ [
                                        "--torch-lib"
                                        folder
                                        if verb.Head = "run" then
                                            "--results"
                                            folder
                                    ]
                                )

                            expectClear outcome
                            Expect.equal outcome.Code 1 outcome.All
                            Expect.stringContains outcome.All folder "where"
                            Expect.stringContains outcome.All "needs libtorch 2.10" "what is needed"
                            Expect.stringContains outcome.All "torch==2.10.*" "how to get it"
                            outcome.All

                        let symbol = "aoti_torch_abi_version"
                        Expect.stringContains (refusal symbol 0x020e010000000000UL) "has the version 2.14.1" "newer"
                        Expect.stringContains (refusal symbol 0x0209010000000000UL) "has the version 2.9.1" "older"
                        Expect.stringContains (refusal symbol 0x030a000000000000UL) "has the version 3.10.0" "major"
                        Expect.stringContains (refusal "other" 0UL) "does not tell its version" "no such function")
                }

            test "the version told is the loaded library's, and it is the one that TorchSharp was built with" {
                let told = Version.Parse TorchRuntime.Loaded.Libtorch
                let built = Version.Parse torch.__version__
                Expect.equal (told.Major, told.Minor) (built.Major, built.Minor) "major and minor"
            }

            test "a cache that cannot be written is one clear error" {
                Repository.inFolder (fun folder ->
                    let file = Path.Combine(folder, "cache")
                    File.WriteAllText(file, "")
                    let program = Path.Combine(AppContext.BaseDirectory, "sslr.dll")
                    let variable = [ "XDG_CACHE_HOME", file ]
                    let outcome = Repository.runWith variable folder "dotnet" [ program; "env" ]
                    expectClear outcome
                    Expect.equal outcome.Code 1 outcome.All
                    Expect.stringContains outcome.All "XDG_CACHE_HOME" "how to mend it")
            }

            test "a script makes tensors" {
                Repository.inFolder (fun folder ->
                    let script = Path.Combine(folder, "tensor.fsx")

                    let reference name =
                        sprintf "#r @\"%s%s.dll\"" AppContext.BaseDirectory name

                    File.WriteAllLines(
                        script,
                        [
                            reference "TorchSharp"
                            reference "SslResearch.Core"
                            "SslResearch.Core.Runtime.TorchRuntime.Initialise() |> ignore"
                            "let sum = TorchSharp.torch.ones(3L).sum()"
                            "printfn \"sum %g\" (sum.item<float32> ())"
                        ]
                    )

                    let outcome = Repository.run folder "dotnet" [ "fsi"; "--quiet"; "--exec"; script ]
                    Expect.equal outcome.Code 0 outcome.All
                    Expect.stringContains outcome.Output "sum 3" "computed")
            }
        ]

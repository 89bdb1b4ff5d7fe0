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

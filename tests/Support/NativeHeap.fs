module Tests.Support.NativeHeap

open System.Runtime.InteropServices

/// glibc's struct mallinfo2 (malloc.h).
[<Struct; StructLayout(LayoutKind.Sequential)>]
type private Info =
    val mutable Arena: unativeint
    val mutable FreeChunks: unativeint
    val mutable FastChunks: unativeint
    val mutable Mapped: unativeint
    val mutable MappedBytes: unativeint
    val mutable Unused: unativeint
    val mutable FastBytes: unativeint
    val mutable InUse: unativeint
    val mutable Free: unativeint
    val mutable Top: unativeint

[<DllImport("libc")>]
extern Info private mallinfo2()

/// Bytes that native code holds in this process, tensors included; None where the C library cannot tell.
let inUse () =
    try
        let info = mallinfo2 ()
        Some(int64 info.InUse + int64 info.MappedBytes)
    with
    | :? System.EntryPointNotFoundException
    | :? System.DllNotFoundException -> None

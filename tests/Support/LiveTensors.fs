module Tests.Support.LiveTensors

open System
open TorchSharp

/// Tensors alive once those that earlier tests dropped are finalised: what a later count may be compared with.
/// The later count itself takes no collection, or it would hide what it looks for.
let settled () =
    GC.Collect()
    GC.WaitForPendingFinalizers()
    GC.Collect()
    torch.Tensor.TotalCount

using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Runtime;

/// <summary>What our kernels work on: float32 tensors in the CPU's memory.</summary>
internal static unsafe class CpuFloats
{
    /// <summary>Whether a tensor is one, with whatever strides.</summary>
    public static bool Holds(Tensor t) => t.dtype == ScalarType.Float32 && t.device_type == DeviceType.CPU;

    /// <summary>Its first element, the view's offset included.</summary>
    public static float* Pointer(Tensor t) => (float*)Aten.DataPointer(t);
}

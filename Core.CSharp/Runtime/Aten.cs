using System.Runtime.InteropServices;
using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>
/// Calls aten operators that TorchSharp does not wrap, through libtorch's stable C interface (torch/csrc/stable/c/shim.h).
/// A stack slot is 64 bits: tensors as owned handles, doubles as their bits, integers and booleans as such, None as 0;
/// results replace the arguments from slot 0.
/// </summary>
internal static unsafe partial class Aten
{
    private const string Library = TorchImports.Libtorch;
    private const ulong StableVersion = (2UL << 56) | (10UL << 48);

    static Aten() => TorchImports.Resolve();

    /// <summary>An argument slot that hands over a new reference to <paramref name="tensor"/>.</summary>
    public static ulong Slot(torch.Tensor tensor)
    {
        Check(aoti_torch_new_tensor_handle(tensor.Handle, out var handle), "new_tensor_handle");
        return (ulong)handle;
    }

    public static ulong Slot(double value) => BitConverter.DoubleToUInt64Bits(value);

    public static ulong Slot(bool value) => value ? 1UL : 0UL;

    public static ulong Slot(IEnumerable<torch.Tensor> tensors)
    {
        var all = tensors.ToArray();
        Check(torch_new_list_reserve_size((nuint)all.Length, out var list), "new_list");
        foreach (var tensor in all)
        {
            Check(torch_list_push_back(list, Slot(tensor)), "list_push_back");
        }

        return (ulong)list;
    }

    /// <summary>Wraps a result slot; the tensor joins the current dispose scope.</summary>
    public static torch.Tensor Tensor(ulong slot) => torch.Tensor.UnsafeCreateTensor((IntPtr)slot);

    public static void Call(string op, string overload, Span<ulong> stack)
    {
        fixed (ulong* slots = stack)
        {
            Check(torch_call_dispatcher(op, overload, slots, StableVersion), op);
        }
    }

    /// <summary>Address of the first element, the view's offset included.</summary>
    public static IntPtr DataPointer(torch.Tensor tensor)
    {
        Check(aoti_torch_get_data_ptr(tensor.Handle, out var pointer), "get_data_ptr");
        return pointer;
    }

    /// <summary>
    /// The shape, without what Tensor.shape leaves to the garbage collector: that makes a native callback on each call, a few hundred bytes
    /// between the activations of a step. Valid as long as the tensor.
    /// </summary>
    public static ReadOnlySpan<long> Sizes(torch.Tensor tensor)
    {
        Check(aoti_torch_get_sizes(tensor.Handle, out var sizes), "get_sizes");
        return new ReadOnlySpan<long>(sizes, (int)tensor.dim());
    }

    /// <summary>Strides in elements, likewise.</summary>
    public static ReadOnlySpan<long> Strides(torch.Tensor tensor)
    {
        Check(aoti_torch_get_strides(tensor.Handle, out var strides), "get_strides");
        return new ReadOnlySpan<long>(strides, (int)tensor.dim());
    }

    /// <summary>The elements of a dense float32 tensor on the CPU, in the order of memory; valid as long as the tensor.</summary>
    public static Span<float> Floats(torch.Tensor tensor) => new((void*)DataPointer(tensor), checked((int)tensor.numel()));

    private static void Check(int error, string what)
    {
        if (error != 0)
        {
            throw new InvalidOperationException($"libtorch refused {what} (error {error}); the cause is on standard error.");
        }
    }

    [DllImport(Library, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int torch_call_dispatcher(string op, string overload, ulong* stack, ulong version);

    [DllImport(Library)]
    private static extern int aoti_torch_new_tensor_handle(IntPtr tensor, out IntPtr handle);

    [DllImport(Library)]
    private static extern int aoti_torch_get_data_ptr(IntPtr tensor, out IntPtr pointer);

    [DllImport(Library)]
    private static extern int aoti_torch_get_sizes(IntPtr tensor, out long* sizes);

    [DllImport(Library)]
    private static extern int aoti_torch_get_strides(IntPtr tensor, out long* strides);

    [DllImport(Library)]
    private static extern int torch_new_list_reserve_size(nuint size, out IntPtr list);

    [DllImport(Library)]
    private static extern int torch_list_push_back(IntPtr list, ulong value);
}

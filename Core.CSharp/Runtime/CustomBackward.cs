using System.Runtime.InteropServices;
using TorchSharp;

namespace SslResearch.Core.Runtime;

/// <summary>Gradients of an operation.</summary>
/// <param name="gradient">∂loss/∂output.</param>
/// <param name="saved">What the operation saved, in that order; released after this call.</param>
/// <param name="gradients">To be filled with ∂loss/∂input of each input; null stands for zero.</param>
internal delegate void BackwardRule(torch.Tensor gradient, ReadOnlySpan<torch.Tensor> saved, Span<torch.Tensor?> gradients);

/// <summary>
/// Puts an operation of ours into torch's graph, as TorchSharp's SingleTensorFunction does and over the same native entry points, but holds
/// nothing longer than it is needed: what was saved and every gradient end within the backward pass (there: with the step), and nothing waits
/// for the garbage collector (there: callbacks that are made anew for each call). So a graph serves one backward pass only.
/// </summary>
internal sealed unsafe class CustomBackward
{
    private const string Library = TorchImports.Shim;
    private const int LargestCount = 8;

    private static readonly Lock Gate = new();

    // The native node knows its managed side by the addresses of two callbacks alone, so these live on and are used again.
    private static readonly List<CustomBackward> All = [];
    private static readonly Stack<CustomBackward> Idle = [];

    // The native side copies the references after the callback has returned: the next call from this thread may release them.
    [ThreadStatic]
    private static List<torch.Tensor>? handedOver;

    [ThreadStatic]
    private static IntPtr* wrapped;

    private readonly ApplyCallback apply;
    private readonly DeleteCallback delete;
    private readonly IntPtr applyPointer;
    private readonly IntPtr deletePointer;
    private readonly IntPtr* answer = (IntPtr*)NativeMemory.AllocZeroed(LargestCount, (nuint)sizeof(IntPtr));
    private readonly IntPtr[] saved = new IntPtr[LargestCount];
    private int savedCount;
    private int inputCount;
    private bool spent;
    private NodePointers node;
    private BackwardRule? rule;

    static CustomBackward() => TorchImports.Resolve();

    private CustomBackward()
    {
        apply = Apply;
        delete = Delete;
        applyPointer = Marshal.GetFunctionPointerForDelegate(apply);
        deletePointer = Marshal.GetFunctionPointerForDelegate(delete);
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate TensorArray ApplyCallback(IntPtr* gradients, int count);

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    private delegate void DeleteCallback();

    /// <summary>Makes <paramref name="output"/> depend on <paramref name="inputs"/> where gradients are wanted.</summary>
    /// <param name="inputs">Tensors that have gradients.</param>
    /// <param name="output">Computed from them outside the graph; must not be one of them or a view.</param>
    /// <param name="save">Inputs, the output or others; the usual check against changes in place before the backward pass holds for them.</param>
    /// <param name="rule">The gradients.</param>
    /// <returns><paramref name="output"/>, now part of the graph.</returns>
    public static torch.Tensor Attach(ReadOnlySpan<torch.Tensor> inputs, torch.Tensor output, ReadOnlySpan<torch.Tensor> save, BackwardRule rule)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(inputs.Length, LargestCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(save.Length, LargestCount);
        var wanted = false;
        foreach (var input in inputs)
        {
            wanted |= input.requires_grad;
        }

        return wanted && torch.is_grad_enabled() ? Rent().Connect(inputs, output, save, rule) : output;
    }

    /// <summary>A loss that was computed together with its gradient.</summary>
    /// <param name="input">What the gradient is by.</param>
    /// <param name="value">The loss.</param>
    /// <param name="gradient">∂loss/∂input; belongs to the graph from here on.</param>
    /// <returns>Scalar float32, part of the graph.</returns>
    public static torch.Tensor Loss(torch.Tensor input, double value, torch.Tensor gradient) => Attach(
        [input], torch.tensor((float)value), [gradient], static (outer, saved, gradients) => gradients[0] = outer.item<float>() == 1 ? saved[0] : saved[0].mul(outer));

    private static CustomBackward Rent()
    {
        lock (Gate)
        {
            if (!Idle.TryPop(out var rented))
            {
                rented = new CustomBackward();
                All.Add(rented);
            }

            return rented;
        }
    }

    private torch.Tensor Connect(ReadOnlySpan<torch.Tensor> inputs, torch.Tensor output, ReadOnlySpan<torch.Tensor> save, BackwardRule backward)
    {
        (rule, inputCount, savedCount, spent) = (backward, inputs.Length, 0, false);
        node = THSAutograd_CSharpNode_ctor(applyPointer, deletePointer);
        torch.CheckForErrors();
        try
        {
            var handles = stackalloc IntPtr[LargestCount];
            for (var i = 0; i < inputs.Length; i++)
            {
                handles[i] = inputs[i].Handle;
            }

            var variables = new TensorArray { Tensors = handles, Count = inputs.Length };
            THSAutograd_CSharpNode_setNextEdges(node, variables, 1);
            torch.CheckForErrors();
            THSAutograd_CSharpNode_clearInputMetadata(node);
            torch.CheckForErrors();
            var raw = output.Handle;
            IntPtr result = 0;
            wrapped = &result;
            THSAutograd_Function_wrapOutputs(variables, default, default, new TensorArray { Tensors = &raw, Count = 1 }, node, &Allocate);
            torch.CheckForErrors();
            output.Dispose();
            var attached = torch.Tensor.UnsafeCreateTensor(result);
            for (; savedCount < save.Length; savedCount++)
            {
                var tensor = ReferenceEquals(save[savedCount], output) ? attached : save[savedCount];
                saved[savedCount] = THSAutograd_SavedVariable_ctor(tensor.Handle, node, 0);
                torch.CheckForErrors();
            }

            return attached;
        }
        finally
        {
            // From here on the graph alone keeps the node.
            var shared = node;
            node.Shared = 0;
            THSAutograd_CSharpNode_disposeSharedPtr(shared);
        }
    }

    private TensorArray Apply(IntPtr* gradients, int count)
    {
        try
        {
            ReleaseHandedOver();
            new Span<IntPtr>(answer, inputCount).Clear();
            using var scope = torch.NewDisposeScope();
            var received = new torch.Tensor?[count];
            for (var i = 0; i < count; i++)
            {
                received[i] = gradients[i] == 0 ? null : torch.Tensor.UnsafeCreateTensor(gradients[i]);
            }

            if (spent)
            {
                return default;
            }

            if (received is [{ } gradient])
            {
                Answer(gradient);
            }

            return new TensorArray { Tensors = answer, Count = inputCount };
        }
#pragma warning disable CA1031 // Nothing may be thrown through native frames; torch reports an answer that is too short as an error of backward.
        catch (Exception)
#pragma warning restore CA1031
        {
            return default;
        }
    }

    private void Answer(torch.Tensor gradient)
    {
        var unpacked = new torch.Tensor[savedCount];
        for (var i = 0; i < unpacked.Length; i++)
        {
            var handle = THSAutograd_SavedVariable_unpack(saved[i], node);
            torch.CheckForErrors();
            unpacked[i] = torch.Tensor.UnsafeCreateTensor(handle);
        }

        ReleaseSaved();
        spent = true;
        var results = new torch.Tensor?[inputCount];
        rule!(gradient, unpacked, results);
        handedOver ??= [];
        for (var i = 0; i < results.Length; i++)
        {
            if (results[i] is { } result)
            {
                handedOver.Add(result.DetachFromDisposeScope());
                answer[i] = result.Handle;
            }
        }
    }

    private void Delete()
    {
        ReleaseHandedOver();
        ReleaseSaved();
        THSAutograd_CSharpNode_disposeWeakPtr(node);
        (node, rule) = (default, null);
        lock (Gate)
        {
            Idle.Push(this);
        }
    }

    private void ReleaseSaved()
    {
        while (savedCount > 0)
        {
            THSAutograd_SavedVariable_dispose(saved[--savedCount]);
        }
    }

    private static void ReleaseHandedOver()
    {
        if (handedOver is not { Count: > 0 } list)
        {
            return;
        }

        foreach (var tensor in list)
        {
            tensor.Dispose();
        }

        list.Clear();
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static IntPtr* Allocate(nuint count) => wrapped;

    [DllImport(Library)]
    private static extern NodePointers THSAutograd_CSharpNode_ctor(IntPtr apply, IntPtr delete);

    [DllImport(Library)]
    private static extern void THSAutograd_CSharpNode_disposeSharedPtr(NodePointers node);

    [DllImport(Library)]
    private static extern void THSAutograd_CSharpNode_disposeWeakPtr(NodePointers node);

    [DllImport(Library)]
    private static extern void THSAutograd_CSharpNode_setNextEdges(NodePointers node, TensorArray inputs, byte executable);

    [DllImport(Library)]
    private static extern void THSAutograd_CSharpNode_clearInputMetadata(NodePointers node);

    [DllImport(Library)]
    private static extern void THSAutograd_Function_wrapOutputs(
        TensorArray inputs,
        TensorArray nonDifferentiable,
        TensorArray dirty,
        TensorArray outputs,
        NodePointers node,
        delegate* unmanaged[Cdecl]<nuint, IntPtr*> allocator);

    [DllImport(Library)]
    private static extern IntPtr THSAutograd_SavedVariable_ctor(IntPtr tensor, NodePointers node, byte inPlaceOnView);

    [DllImport(Library)]
    private static extern void THSAutograd_SavedVariable_dispose(IntPtr saved);

    [DllImport(Library)]
    private static extern IntPtr THSAutograd_SavedVariable_unpack(IntPtr saved, NodePointers node);

    [StructLayout(LayoutKind.Sequential)]
    private struct NodePointers
    {
        public IntPtr Shared;
        public IntPtr Weak;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct TensorArray
    {
        public IntPtr* Tensors;
        public long Count;
    }
}

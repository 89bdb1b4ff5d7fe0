using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using TorchSharp;
using static SslResearch.Core.Runtime.CpuFloats;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// softmax(q·kᵀ/√d)·v for all heads (Vaswani et al. 2017, eq. 1) straight from the one product that holds queries, keys and values, as one
/// operation: no head is copied out or back, and the backward pass makes the weights anew from one number a query.
/// </summary>
public static unsafe class PackedAttention
{
    // Two matrices of this many tokens squared stay in a core's second cache.
    private const long MostTokens = 256;

    /// <summary>True if <see cref="Apply"/> serves this product: float32 on a CPU with 512-bit vectors, dense, short sequences, heads of whole vectors.</summary>
    /// <param name="qkv">(N, T, 3·width).</param>
    /// <param name="heads">Divides the width.</param>
    public static bool Serves(Tensor qkv, int heads) =>
        Vector512.IsHardwareAccelerated && Holds(qkv) && qkv.dim() == 3
        && qkv.size(1) is > 0 and <= MostTokens && qkv.size(2) % (3L * heads * VectorMath.Lanes) == 0 && qkv.is_contiguous();

    /// <param name="qkv">(N, T, 3·width) float32 as <see cref="Serves"/> tells: queries, keys, values, each (heads, d).</param>
    /// <param name="heads">Divides the width.</param>
    /// <param name="causal">Whether a token looks at itself and those before it only.</param>
    /// <returns>(N, T, width), heads side by side.</returns>
    public static Tensor Apply(Tensor qkv, int heads, bool causal)
    {
        if (!Serves(qkv, heads))
        {
            throw new ArgumentException(
                $"expected (N, T, 3·width) float32 on the CPU, dense, T at most {MostTokens}, heads of whole vectors of {VectorMath.Lanes}; received {qkv.dtype} ({string.Join(", ", qkv.shape)}), {heads} heads",
                nameof(qkv));
        }

        using var scope = NewDisposeScope();
        Tensor output, sums;
        using (no_grad())
        {
            var (n, tokens, width) = (qkv.size(0), qkv.size(1), qkv.size(2) / 3);
            (output, sums) = (empty(n, tokens, width), empty(n, heads, tokens));
            var kernel = new AttentionKernels.Forward { Layout = Layout(qkv, heads, causal), Output = Pointer(output), LogSums = Pointer(sums) };
            NativeParallel.For(ref kernel, checked((int)(n * heads)));
        }

        return CustomBackward.Attach([qkv], output, [qkv, sums], (gradient, saved, gradients) =>
        {
            var dense = gradient.contiguous();
            var result = empty_like(saved[0]);
            var kernel = new AttentionKernels.Backward
            {
                Layout = Layout(saved[0], heads, causal),
                LogSums = Pointer(saved[1]),
                Gradient = Pointer(dense),
                QkvGradient = Pointer(result),
            };
            NativeParallel.For(ref kernel, checked((int)(saved[0].size(0) * heads)));
            gradients[0] = result;
        }).MoveToOuterDisposeScope();
    }

    private static AttentionKernels.Layout Layout(Tensor qkv, int heads, bool causal) => new()
    {
        Qkv = Pointer(qkv),
        Tokens = (int)qkv.size(1),
        Heads = heads,
        Depth = (int)(qkv.size(2) / (3 * heads)),
        Causal = causal,
    };
}

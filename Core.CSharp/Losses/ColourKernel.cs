using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using TorchSharp;
using static SslResearch.Core.Runtime.CpuFloats;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// <see cref="ColourCrossEntropy"/>'s loss and its gradient from one reading of the logits. Each pixel is worked on by one thread alone and the
/// pixels are added up in their order, so results do not depend on the number of threads.
/// </summary>
internal static unsafe class ColourKernel
{
    // What one item of the loop works on.
    private const int PixelsAtOnce = 64;

    /// <summary>True for dense tensors on a CPU with 512-bit vectors, float32 but for the bins.</summary>
    public static bool Serves(Tensor logits, Tensor bins, Tensor shares, Tensor? rarity) =>
        Vector512.IsHardwareAccelerated && Dense(logits) && Dense(shares) && (rarity is null || Dense(rarity))
        && bins.dtype == ScalarType.Int64 && bins.device_type == DeviceType.CPU && bins.is_contiguous();

    /// <summary>The loss, and its gradient by the logits.</summary>
    /// <param name="logits">(M, Q).</param>
    /// <param name="bins">(M, K).</param>
    /// <param name="shares">(M, K).</param>
    /// <param name="rarity">(Q) or null.</param>
    /// <exception cref="ArgumentException">A bin outside 0 … Q−1.</exception>
    public static (double Loss, Tensor Gradient) Apply(Tensor logits, Tensor bins, Tensor shares, Tensor? rarity)
    {
        var (rows, count, neighbours) = (checked((int)logits.size(0)), checked((int)logits.size(1)), checked((int)bins.size(1)));
        var nearest = (long*)Aten.DataPointer(bins);
        foreach (var bin in new ReadOnlySpan<long>(nearest, checked(rows * neighbours)))
        {
            if ((ulong)bin >= (ulong)count)
            {
                throw new ArgumentException($"Bins of {count} colours are 0 to {count - 1}; received {bin}.", nameof(bins));
            }
        }

        using var values = empty(rows);
        var weights = rarity is null ? null : Pointer(rarity);
        var total = 0.0;
        for (var i = 0; i < rows; i++)
        {
            total += weights == null ? 1 : weights[nearest[(long)i * neighbours]];
        }

        var gradient = empty(rows, count);
        var kernel = new Kernel
        {
            Logits = Pointer(logits),
            Bins = nearest,
            Shares = Pointer(shares),
            Weights = weights,
            Scale = (float)(1 / total),
            Values = Pointer(values),
            Gradient = Pointer(gradient),
            Rows = rows,
            Count = count,
            Neighbours = neighbours,
        };
        NativeParallel.For(ref kernel, (rows + PixelsAtOnce - 1) / PixelsAtOnce);
        var sum = 0.0;
        foreach (var value in Aten.Floats(values))
        {
            sum += value;
        }

        return (sum, gradient);
    }

    private static bool Dense(Tensor t) => Holds(t) && t.is_contiguous();

    private struct Kernel : IRangeKernel
    {
        public float* Logits;
        public long* Bins;
        public float* Shares;
        public float* Weights;
        public float Scale; // 1 / Σ v
        public float* Values;
        public float* Gradient;
        public int Rows;
        public int Count;
        public int Neighbours;

        public readonly void Run(int from, int to)
        {
            var scratch = VectorMath.Allocate(VectorMath.Padded(Count));
            for (var i = from * PixelsAtOnce; i < Math.Min(to * PixelsAtOnce, Rows); i++)
            {
                One(i, scratch);
            }

            NativeMemory.AlignedFree(scratch);
        }

        /// <summary>v·Σₖ sₖ·(log Σ exp(z) − zₖ), and by z: v·(Σₖ sₖ·softmax(z) − s), both over Σ v.</summary>
        private readonly void One(int row, float* scratch)
        {
            var logits = Logits + ((long)row * Count);
            var gradient = Gradient + ((long)row * Count);
            var bins = Bins + ((long)row * Neighbours);
            var shares = Shares + ((long)row * Neighbours);
            new ReadOnlySpan<float>(logits, Count).CopyTo(new Span<float>(scratch, Count));
            new Span<float>(scratch + Count, VectorMath.Padded(Count) - Count).Clear();
            var largest = VectorMath.Largest(scratch, Count);
            var sum = VectorMath.Exponentials(scratch, Count, VectorMath.Padded(Count), 1, largest);
            var normaliser = MathF.Log(sum);
            var (share, entropy) = (0f, 0f);
            for (var k = 0; k < Neighbours; k++)
            {
                share += shares[k];
                entropy += shares[k] * (normaliser - (logits[bins[k]] - largest));
            }

            var weight = (Weights == null ? 1 : Weights[bins[0]]) * Scale;
            Values[row] = new ReadOnlySpan<float>(logits, Count).ContainsAnyExceptInRange(float.MinValue, float.MaxValue) ? float.NaN : weight * entropy;
            var factor = Vector512.Create(weight * share / sum);
            for (var q = 0; q < Count; q += VectorMath.Lanes)
            {
                (Vector512.Load(scratch + q) * factor).Store(scratch + q);
            }

            for (var k = 0; k < Neighbours; k++)
            {
                scratch[bins[k]] -= weight * shares[k];
            }

            new ReadOnlySpan<float>(scratch, Count).CopyTo(new Span<float>(gradient, Count));
        }
    }
}

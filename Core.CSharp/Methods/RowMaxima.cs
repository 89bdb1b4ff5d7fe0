using System.Numerics;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Methods;

/// <summary>Where the largest element of each row is: torch's own search takes the elements one by one.</summary>
internal static unsafe class RowMaxima
{
    /// <summary>Column of the largest element of each row, the first of equals; 0 for a row that holds NaN.</summary>
    /// <param name="x">(M, K) with K ≥ 1.</param>
    /// <returns>(M) int64 on x's device.</returns>
    public static Tensor Columns(Tensor x)
    {
        if (!CpuFloats.Holds(x))
        {
            return x.argmax(1);
        }

        using var rows = x.contiguous();
        var found = empty([rows.size(0)], ScalarType.Int64);
        var kernel = new Kernel { Rows = CpuFloats.Pointer(rows), Found = (long*)Aten.DataPointer(found), Width = checked((int)rows.size(1)) };
        NativeParallel.For(ref kernel, checked((int)rows.size(0)));
        return found;
    }

    private struct Kernel : IRangeKernel
    {
        public float* Rows;
        public long* Found;
        public int Width;

        public readonly void Run(int from, int to)
        {
            for (var row = from; row < to; row++)
            {
                var values = new ReadOnlySpan<float>(Rows + ((long)row * Width), Width);
                Found[row] = Math.Max(0, values.IndexOf(Largest(values)));
            }
        }

        private static float Largest(ReadOnlySpan<float> values)
        {
            var lanes = Vector<float>.Count;
            var largest = float.NegativeInfinity;
            var at = 0;
            if (values.Length >= 2 * lanes)
            {
                var (even, odd) = (new Vector<float>(values), new Vector<float>(values[lanes..]));
                for (at = 2 * lanes; at + (2 * lanes) <= values.Length; at += 2 * lanes)
                {
                    even = Vector.Max(even, new Vector<float>(values[at..]));
                    odd = Vector.Max(odd, new Vector<float>(values[(at + lanes)..]));
                }

                var both = Vector.Max(even, odd);
                for (var i = 0; i < lanes; i++)
                {
                    largest = Math.Max(largest, both[i]);
                }
            }

            for (; at < values.Length; at++)
            {
                largest = Math.Max(largest, values[at]);
            }

            return largest;
        }
    }
}

using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Runtime;

/// <summary>
/// Products of matrices. In float32 on the CPU torch takes MKL, which keeps to AVX2 on processors of other makers than its own; where there are vectors
/// of 512 bits, ours use them (twice the speed on AMD with AVX-512: <c>benchmarks/RESULTS.md</c>). Results of ours do not depend on the number of threads.
/// </summary>
public static unsafe class MatrixProduct
{
    /// <summary>x·Wᵀ + b, with gradients for all three.</summary>
    /// <param name="x">(…, k).</param>
    /// <param name="weight">(n, k).</param>
    /// <param name="bias">(n), or null.</param>
    /// <returns>(…, n).</returns>
    public static Tensor Linear(Tensor x, Tensor weight, Tensor? bias = null)
    {
        if (!Serves(x, weight, bias))
        {
            return nn.functional.linear(x, weight, bias!);
        }

        using var scope = NewDisposeScope();
        var rows = x.dim() == 2 ? x : x.reshape(-1, x.size(-1));
        Tensor y;
        using (no_grad())
        {
            y = empty(rows.size(0), weight.size(0));
            Multiply(rows, weight, y, bias is null ? null : bias.contiguous());
        }

        y = CustomBackward.Attach(bias is null ? [rows, weight] : [rows, weight, bias], y, [rows, weight], Backward);
        return (x.dim() == 2 ? y : y.view([.. Aten.Sizes(x)[..^1], weight.size(0)])).MoveToOuterDisposeScope();
    }

    /// <summary>C = A·B, or C = A·B + a row: kernels for blocks of rows and columns that fit into caches.</summary>
    /// <param name="a">(m, k) float32 on the CPU, any strides.</param>
    /// <param name="b">(n, k), any strides: B transposed.</param>
    /// <param name="c">(m, n), dense.</param>
    /// <param name="start">(n), dense, or null.</param>
    private static void Multiply(Tensor a, Tensor b, Tensor c, Tensor? start)
    {
        var inA = Aten.Strides(a);
        var inB = Aten.Strides(b);
        var kernel = new Kernel
        {
            A = CpuFloats.Pointer(a),
            ARow = inA[0],
            AColumn = inA[1],
            B = CpuFloats.Pointer(b),
            BRow = inB[1],
            BColumn = inB[0],
            C = CpuFloats.Pointer(c),
            Start = start is null ? null : CpuFloats.Pointer(start),
            M = checked((int)a.size(0)),
            N = checked((int)b.size(0)),
            K = checked((int)a.size(1)),
        };
        NativeParallel.For(ref kernel, (kernel.M + Kernel.RowsAtOnce - 1) / Kernel.RowsAtOnce);
    }

    private static bool Serves(Tensor x, Tensor weight, Tensor? bias) =>
        Vector512.IsHardwareAccelerated && CpuFloats.Holds(x) && CpuFloats.Holds(weight) && (bias is null || CpuFloats.Holds(bias))
        && weight.dim() == 2 && (bias is null || (bias.dim() == 1 && bias.size(0) == weight.size(0))) && x.dim() >= 2 && x.numel() > 0 && weight.size(0) % VectorMath.Lanes == 0 && weight.size(1) % VectorMath.Lanes == 0
        && x.size(-1) == weight.size(1);

    private static void Backward(Tensor gradient, ReadOnlySpan<Tensor> saved, Span<Tensor?> gradients)
    {
        var (x, weight) = (saved[0], saved[1]);
        if (x.requires_grad)
        {
            gradients[0] = empty(x.size(0), x.size(1));
            Multiply(gradient, weight.t(), gradients[0]!, null);
        }

        if (weight.requires_grad)
        {
            gradients[1] = empty(weight.size(0), weight.size(1));
            Multiply(gradient.t(), x.t(), gradients[1]!, null);
        }

        if (gradients.Length > 2)
        {
            gradients[2] = gradient.sum([0L]);
        }
    }

    /// <summary>Items are groups of rows of C.</summary>
    private struct Kernel : IRangeKernel
    {
        public const int RowsAtOnce = 4;

        // A panel of B, 192 by 48 floats, leaves room in a first cache of 48 KiB for the rows of A and C that pass by.
        private const int Panel = 3 * VectorMath.Lanes;
        private const int Deep = 192;

        public float* A;
        public long ARow;
        public long AColumn;
        public float* B;
        public long BRow;
        public long BColumn;
        public float* C;
        public float* Start;
        public int M;
        public int N;
        public int K;

        public readonly void Run(int from, int to)
        {
            var first = from * RowsAtOnce;
            var rows = Math.Min(to * RowsAtOnce, M) - first;
            var c = C + ((long)first * N);
            for (var i = 0; Start != null && i < rows; i++)
            {
                NativeMemory.Copy(Start, c + ((long)i * N), (nuint)N * sizeof(float));
            }

            var panel = VectorMath.Allocate(Deep * Panel);
            for (var k = 0; k < K; k += Deep)
            {
                var depth = Math.Min(Deep, K - k);
                for (var n = 0; n < N; n += Panel)
                {
                    var width = Math.Min(Panel, N - n);
                    Pack(B + (k * BRow) + (n * BColumn), depth, width, panel);
                    VectorMath.Multiply(A + (first * ARow) + (k * AColumn), ARow, AColumn, panel, width, c + n, N, rows, width, depth, k > 0 || Start != null);
                }
            }

            NativeMemory.AlignedFree(panel);
        }

        private readonly void Pack(float* b, int depth, int width, float* panel)
        {
            if (BColumn == 1)
            {
                for (var k = 0; k < depth; k++)
                {
                    NativeMemory.Copy(b + (k * BRow), panel + (k * width), (nuint)width * sizeof(float));
                }

                return;
            }

            // Sixteen rows of the panel at a time: what is written to stays in the first cache.
            for (var start = 0; start < depth; start += VectorMath.Lanes)
            {
                var end = Math.Min(start + VectorMath.Lanes, depth);
                for (var n = 0; n < width; n++)
                {
                    var column = b + (n * BColumn);
                    for (var k = start; k < end; k++)
                    {
                        panel[(k * width) + n] = column[k * BRow];
                    }
                }
            }
        }
    }
}

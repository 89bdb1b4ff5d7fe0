using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace SslResearch.Core.Augment;

/// <summary>
/// The SIMD kernels, sixteen floats at a time. Buffers have slack at their ends, so that whole blocks may be read and written there.
/// Where Vector512 has no hardware the runtime makes two halves of it; without AVX2 the scalar twins serve.
/// They are compiled fully at once: unoptimised code of this kind is fifty times slower, and a busy machine takes long to replace it.
/// </summary>
internal static unsafe partial class VectorKernels
{
    private const int Block = AxisTable.Block;

    private static bool Accelerated => Avx2.IsSupported && Fma.IsSupported;

    /// <inheritdoc cref="ScalarKernels.LoadRow"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void LoadRow(byte* source, int width, int channels, float* rows, int rowStride)
    {
        if (!Accelerated || width < Block)
        {
            ScalarKernels.LoadRow(source, width, channels, rows, rowStride);
            return;
        }

        // The last block ends with the row: nothing is read beyond it.
        for (var x = 0; x < width; x += Block)
        {
            var at = Math.Min(x, width - Block);
            if (channels == 3)
            {
                Split(source + (3 * at), rows + at, rowStride);
            }
            else
            {
                Widen(Vector128.Load(source + at)).Store(rows + at);
            }
        }
    }

    /// <inheritdoc cref="ScalarKernels.Horizontal"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Horizontal(float* source, float* target, in AxisTable table)
    {
        if (!Accelerated)
        {
            ScalarKernels.Horizontal(source, target, table);
            return;
        }

        var (taps, stride) = (table.Taps, table.Stride);
        var weights = table.Weights;
        for (var x = 0; x < stride; x += Block)
        {
            var start = table.Start + x;
            var first = Math.Min(start[0], start[Block - 1]);
            var last = Math.Max(start[0], start[Block - 1]);
            var sum = Vector512<float>.Zero;
            if (Avx512F.IsSupported && last - first + taps <= 2 * Block)
            {
                // All sources of the block lie within two registers: permute instead of gather.
                var low = Vector512.Load(source + first);
                var high = Vector512.Load(source + first + Block);
                var index = Vector512.Load(start) - Vector512.Create(first);
                for (var k = 0; k < taps; k++)
                {
                    var values = Avx512F.PermuteVar16x32x2(low, index, high);
                    sum = Vector512.FusedMultiplyAdd(Vector512.Load(weights + (k * stride) + x), values, sum);
                    index += Vector512<int>.One;
                }
            }
            else
            {
                var lower = Vector256.Load(start);
                var upper = Vector256.Load(start + 8);
                for (var k = 0; k < taps; k++)
                {
                    var values = Vector512.Create(
                        Avx2.GatherVector256(source + k, lower, sizeof(float)), Avx2.GatherVector256(source + k, upper, sizeof(float)));
                    sum = Vector512.FusedMultiplyAdd(Vector512.Load(weights + (k * stride) + x), values, sum);
                }
            }

            sum.Store(target + x);
        }
    }

    /// <inheritdoc cref="ScalarKernels.Vertical"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Vertical(float* source, int stride, float* target, int width, in AxisTable table, bool clamp)
    {
        if (!Accelerated)
        {
            ScalarKernels.Vertical(source, stride, target, width, table, clamp);
            return;
        }

        var (taps, length) = (table.Taps, table.Length);
        for (var y = 0; y < length; y++)
        {
            // Most results need fewer taps than the longest.
            var used = taps;
            while (used > 1 && table.Weights[((used - 1) * table.Stride) + y] == 0)
            {
                used--;
            }

            var rows = source + (table.Start[y] * stride);
            var weights = table.Weights + y;
            var result = target + (y * width);
            if (used == 2)
            {
                var w0 = Vector512.Create(weights[0]);
                var w1 = Vector512.Create(weights[table.Stride]);
                for (var x = 0; x < width; x += Block)
                {
                    var sum = Vector512.FusedMultiplyAdd(w1, Vector512.Load(rows + stride + x), w0 * Vector512.Load(rows + x));
                    (clamp ? Clamp(sum) : sum).Store(result + x);
                }

                continue;
            }

            for (var x = 0; x < width; x += Block)
            {
                var sum = Vector512<float>.Zero;
                for (var k = 0; k < used; k++)
                {
                    sum = Vector512.FusedMultiplyAdd(
                        Vector512.Create(weights[k * table.Stride]), Vector512.Load(rows + (k * stride) + x), sum);
                }

                (clamp ? Clamp(sum) : sum).Store(result + x);
            }
        }
    }

    /// <inheritdoc cref="ScalarKernels.Pass"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Pass(float* source, float* target, int count, int step, float* half, int radius, bool round)
    {
        if (!Accelerated)
        {
            ScalarKernels.Pass(source, target, count, step, half, radius, round);
            return;
        }

        var offset = Vector512.Create(round ? 0.5f : 0);
        var w0 = Vector512.Create(half[0]);
        var w1 = Vector512.Create(half[1]);
        var w2 = Vector512.Create(half[2]);
        for (var i = 0; i < count; i += Block)
        {
            var at = source + i;
            var sum = Vector512.FusedMultiplyAdd(w0, Vector512.Load(at), offset);
            if (radius > 0)
            {
                sum = Vector512.FusedMultiplyAdd(w1, Vector512.Load(at - step) + Vector512.Load(at + step), sum);
            }

            if (radius > 1)
            {
                sum = Vector512.FusedMultiplyAdd(w2, Vector512.Load(at - (2 * step)) + Vector512.Load(at + (2 * step)), sum);
            }

            for (var j = 3; j <= radius; j++)
            {
                var pair = Vector512.Load(at - (j * step)) + Vector512.Load(at + (j * step));
                sum = Vector512.FusedMultiplyAdd(Vector512.Create(half[j]), pair, sum);
            }

            (round ? Vector512.Floor(sum) : sum).Store(target + i);
        }
    }

    /// <summary>Sixteen interleaved pixels to three blocks of floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Split(byte* source, float* rows, int rowStride)
    {
        // A lane with its high bit set gives 0; each channel's bytes lie in all three registers.
        const byte No = 0x80;
        var (a, b, c) = (Vector128.Load(source), Vector128.Load(source + 16), Vector128.Load(source + 32));
        var red = Ssse3.Shuffle(a, Vector128.Create(0, 3, 6, 9, 12, 15, No, No, No, No, No, No, No, No, No, No))
            | Ssse3.Shuffle(b, Vector128.Create(No, No, No, No, No, No, 2, 5, 8, 11, 14, No, No, No, No, No))
            | Ssse3.Shuffle(c, Vector128.Create(No, No, No, No, No, No, No, No, No, No, No, 1, 4, 7, 10, 13));
        var green = Ssse3.Shuffle(a, Vector128.Create(1, 4, 7, 10, 13, No, No, No, No, No, No, No, No, No, No, No))
            | Ssse3.Shuffle(b, Vector128.Create(No, No, No, No, No, 0, 3, 6, 9, 12, 15, No, No, No, No, No))
            | Ssse3.Shuffle(c, Vector128.Create(No, No, No, No, No, No, No, No, No, No, No, 2, 5, 8, 11, 14));
        var blue = Ssse3.Shuffle(a, Vector128.Create(2, 5, 8, 11, 14, No, No, No, No, No, No, No, No, No, No, No))
            | Ssse3.Shuffle(b, Vector128.Create(No, No, No, No, No, 1, 4, 7, 10, 13, No, No, No, No, No, No))
            | Ssse3.Shuffle(c, Vector128.Create(No, No, No, No, No, No, No, No, No, No, 0, 3, 6, 9, 12, 15));
        Widen(red).Store(rows);
        Widen(green).Store(rows + rowStride);
        Widen(blue).Store(rows + (2 * rowStride));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Widen(Vector128<byte> bytes) => Avx512F.IsSupported
        ? Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(bytes))
        : Vector512.Create(
            Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(bytes)),
            Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(bytes, 8))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Clamp(Vector512<float> v) =>
        Vector512.MinNative(Vector512.MaxNative(v, Vector512<float>.Zero), Vector512.Create(255f));
}

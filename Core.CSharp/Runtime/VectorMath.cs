using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace SslResearch.Core.Runtime;

/// <summary>
/// What kernels do with small blocks that lie in a core's cache: products, transposition, exponentials; float32, vectors of 512 bits, one thread.
/// </summary>
internal static unsafe class VectorMath
{
    /// <summary>Elements of a vector.</summary>
    public const int Lanes = 16;

    private const nuint Alignment = 64;

    /// <summary>Filled up to whole vectors.</summary>
    public static int Padded(int count) => (count + Lanes - 1) / Lanes * Lanes;

    /// <summary>Not cleared; to be freed by NativeMemory.AlignedFree.</summary>
    public static float* Allocate(int count) => (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), Alignment);

    /// <summary>Largest of <paramref name="count"/> ≥ 1 elements that whole vectors can be read from.</summary>
    public static float Largest(float* x, int count)
    {
        var best = Vector512.Create(float.NegativeInfinity);
        for (var j = 0; j < count; j += Lanes)
        {
            best = Vector512.MaxNative(best, Vector512.ConditionalSelect(First(count - j), Vector512.Load(x + j), best));
        }

        var half = Vector256.MaxNative(best.GetLower(), best.GetUpper());
        var quarter = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        return MathF.Max(MathF.Max(quarter[0], quarter[1]), MathF.Max(quarter[2], quarter[3]));
    }

    /// <summary>In place, exp(scale·x − shift) of the first <paramref name="count"/> and 0 for the others; returns the sum.</summary>
    public static float Exponentials(float* x, int count, int padded, float scale, float shift)
    {
        var sums = Vector512<float>.Zero;
        for (var j = 0; j < padded; j += Lanes)
        {
            var e = Exponential((Vector512.Load(x + j) * scale) - Vector512.Create(shift));
            e = Vector512.ConditionalSelect(First(count - j), e, Vector512<float>.Zero);
            e.Store(x + j);
            sums += e;
        }

        return Vector512.Sum(sums);
    }

    /// <summary>(rows, columns) with a stride to (columns, padded), zeros in what is filled up.</summary>
    public static void Transpose(float* from, int stride, int rows, int columns, float* to, int padded)
    {
        for (var c = 0; c < columns; c++)
        {
            var target = to + (c * padded);
            var source = from + c;
            for (var r = 0; r < rows; r++)
            {
                target[r] = source[(long)r * stride];
            }

            new Span<float>(target + rows, padded - rows).Clear();
        }
    }

    /// <summary>
    /// C (m, n) = A (m, k) · B (k, n), or C += A · B: elements of A lie <paramref name="aRow"/> and <paramref name="aColumn"/> apart, rows of B and C
    /// are dense; n is a whole number of vectors. Each element is a sum in the order of k, whatever m and n are.
    /// </summary>
    public static void Multiply(float* a, long aRow, long aColumn, float* b, long bRow, float* c, long cRow, int m, int n, int k, bool add = false)
    {
        for (var i = 0; i < m; i += 4)
        {
            // At the end the last row is worked on several times.
            var last = m - 1 - i;
            var inA = new RowOffsets(last, aRow);
            var inC = new RowOffsets(last, cRow);
            var from = a + (i * aRow);
            var to = c + (i * cRow);
            var j = 0;
            for (; j + (3 * Lanes) <= n; j += 3 * Lanes)
            {
                Three(from, inA, aColumn, b + j, bRow, k, to + j, inC, add);
            }

            for (; j + (2 * Lanes) <= n; j += 2 * Lanes)
            {
                Two(from, inA, aColumn, b + j, bRow, k, to + j, inC, add);
            }

            for (; j < n; j += Lanes)
            {
                One(from, inA, aColumn, b + j, bRow, k, to + j, inC, add);
            }
        }
    }

    /// <summary>One vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* c, Vector512<float> x) => x.Store(c);

    /// <summary>Two vectors side by side.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* c, Vector512<float> x, Vector512<float> y)
    {
        x.Store(c);
        y.Store(c + Lanes);
    }

    /// <summary>All bits in the first <paramref name="count"/> lanes.</summary>
    private static Vector512<float> First(int count) =>
        Vector512.LessThan(Vector512.Create(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), Vector512.Create(count)).AsSingle();

    /// <summary>
    /// exp(x) to 2 units in the last place for x from −87, below which it stays exp(−87), to 88; NaN stays. 2ⁿ·exp(r) with |r| ≤ ln 2/2, exp(r) by its
    /// minimax polynomial (coefficients: Cephes, expf).
    /// </summary>
    public static Vector512<float> Exponential(Vector512<float> x)
    {
        x = Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512.Create(-87f)), Vector512.Create(-87f), x);
        var n = Vector512.Round(x * 1.44269504f);
        var r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693359375f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(2.12194440e-4f), r);
        var p = Vector512.Create(1.9875691500e-4f);
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.3981999507e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(8.3334519073e-3f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(4.1665795894e-2f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(1.6666665459e-1f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(5.0000001201e-1f));
        p = Vector512.FusedMultiplyAdd(p * r, r, r) + Vector512<float>.One;
        return p * ((Vector512.ConvertToInt32Native(n) + Vector512.Create(127)) << 23).AsSingle();
    }

    private static void Three(float* a, in RowOffsets inA, long step, float* b, long bRow, int k, float* c, in RowOffsets inC, bool add)
    {
        var (a1, a2, a3) = (inA.Second, inA.Third, inA.Fourth);
        Vector512<float> s00 = default, s01 = default, s02 = default, s10 = default, s11 = default, s12 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default, s30 = default, s31 = default, s32 = default;
        if (add)
        {
            (s00, s01, s02) = (Vector512.Load(c), Vector512.Load(c + Lanes), Vector512.Load(c + (2 * Lanes)));
            (s10, s11, s12) = (Vector512.Load(c + inC.Second), Vector512.Load(c + inC.Second + Lanes), Vector512.Load(c + inC.Second + (2 * Lanes)));
            (s20, s21, s22) = (Vector512.Load(c + inC.Third), Vector512.Load(c + inC.Third + Lanes), Vector512.Load(c + inC.Third + (2 * Lanes)));
            (s30, s31, s32) = (Vector512.Load(c + inC.Fourth), Vector512.Load(c + inC.Fourth + Lanes), Vector512.Load(c + inC.Fourth + (2 * Lanes)));
        }

        for (var p = 0; p < k; p++)
        {
            var b0 = Vector512.Load(b);
            var b1 = Vector512.Load(b + Lanes);
            var b2 = Vector512.Load(b + (2 * Lanes));
            var x = Vector512.Create(*a);
            s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
            s01 = Vector512.FusedMultiplyAdd(x, b1, s01);
            s02 = Vector512.FusedMultiplyAdd(x, b2, s02);
            x = Vector512.Create(a[a1]);
            s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
            s11 = Vector512.FusedMultiplyAdd(x, b1, s11);
            s12 = Vector512.FusedMultiplyAdd(x, b2, s12);
            x = Vector512.Create(a[a2]);
            s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
            s21 = Vector512.FusedMultiplyAdd(x, b1, s21);
            s22 = Vector512.FusedMultiplyAdd(x, b2, s22);
            x = Vector512.Create(a[a3]);
            s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
            s31 = Vector512.FusedMultiplyAdd(x, b1, s31);
            s32 = Vector512.FusedMultiplyAdd(x, b2, s32);
            a += step;
            b += bRow;
        }

        Store(c, s00, s01, s02);
        Store(c + inC.Second, s10, s11, s12);
        Store(c + inC.Third, s20, s21, s22);
        Store(c + inC.Fourth, s30, s31, s32);
    }

    private static void Two(float* a, in RowOffsets inA, long step, float* b, long bRow, int k, float* c, in RowOffsets inC, bool add)
    {
        var (a1, a2, a3) = (inA.Second, inA.Third, inA.Fourth);
        Vector512<float> s00 = default, s01 = default, s10 = default, s11 = default;
        Vector512<float> s20 = default, s21 = default, s30 = default, s31 = default;
        if (add)
        {
            (s00, s01) = (Vector512.Load(c), Vector512.Load(c + Lanes));
            (s10, s11) = (Vector512.Load(c + inC.Second), Vector512.Load(c + inC.Second + Lanes));
            (s20, s21) = (Vector512.Load(c + inC.Third), Vector512.Load(c + inC.Third + Lanes));
            (s30, s31) = (Vector512.Load(c + inC.Fourth), Vector512.Load(c + inC.Fourth + Lanes));
        }

        for (var p = 0; p < k; p++)
        {
            var b0 = Vector512.Load(b);
            var b1 = Vector512.Load(b + Lanes);
            var x = Vector512.Create(*a);
            s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
            s01 = Vector512.FusedMultiplyAdd(x, b1, s01);
            x = Vector512.Create(a[a1]);
            s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
            s11 = Vector512.FusedMultiplyAdd(x, b1, s11);
            x = Vector512.Create(a[a2]);
            s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
            s21 = Vector512.FusedMultiplyAdd(x, b1, s21);
            x = Vector512.Create(a[a3]);
            s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
            s31 = Vector512.FusedMultiplyAdd(x, b1, s31);
            a += step;
            b += bRow;
        }

        Store(c, s00, s01);
        Store(c + inC.Second, s10, s11);
        Store(c + inC.Third, s20, s21);
        Store(c + inC.Fourth, s30, s31);
    }

    private static void One(float* a, in RowOffsets inA, long step, float* b, long bRow, int k, float* c, in RowOffsets inC, bool add)
    {
        var (a1, a2, a3) = (inA.Second, inA.Third, inA.Fourth);
        Vector512<float> s00 = default, s10 = default;
        Vector512<float> s20 = default, s30 = default;
        if (add)
        {
            s00 = Vector512.Load(c);
            s10 = Vector512.Load(c + inC.Second);
            s20 = Vector512.Load(c + inC.Third);
            s30 = Vector512.Load(c + inC.Fourth);
        }

        for (var p = 0; p < k; p++)
        {
            var b0 = Vector512.Load(b);
            var x = Vector512.Create(*a);
            s00 = Vector512.FusedMultiplyAdd(x, b0, s00);
            x = Vector512.Create(a[a1]);
            s10 = Vector512.FusedMultiplyAdd(x, b0, s10);
            x = Vector512.Create(a[a2]);
            s20 = Vector512.FusedMultiplyAdd(x, b0, s20);
            x = Vector512.Create(a[a3]);
            s30 = Vector512.FusedMultiplyAdd(x, b0, s30);
            a += step;
            b += bRow;
        }

        Store(c, s00);
        Store(c + inC.Second, s10);
        Store(c + inC.Third, s20);
        Store(c + inC.Fourth, s30);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* c, Vector512<float> x, Vector512<float> y, Vector512<float> z)
    {
        Store(c, x, y);
        z.Store(c + (2 * Lanes));
    }

    /// <summary>Where the three rows after a first one begin, as seen from it.</summary>
    private readonly struct RowOffsets(long last, long row)
    {
        public long Second { get; } = Math.Min(1, last) * row;

        public long Third { get; } = Math.Min(2, last) * row;

        public long Fourth { get; } = Math.Min(3, last) * row;
    }
}

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// sRGB planes to L*, a*, b* planes, sixteen pixels at a time. Roots are Newton's and Halley's iterations from a guess by the exponent's bits;
/// <see cref="Scalar"/> is the plain twin.
/// </summary>
internal static unsafe class LabKernels
{
    private const int Block = AxisTable.Block;

    // Guesses of y^(1/5) and t^(1/3) as bits/5 and bits/3 plus these; least largest error over an octave cycle, about 3 %.
    private const float FifthRootBits = 0.8f * (127 - 0.0450465f) * (1 << 23);
    private const float CubeRootBits = 2f / 3 * (127 - 0.0450465f) * (1 << 23);

    private static readonly float[] Matrix = [.. CieLab.Matrix.ToArray().Select(v => (float)v)];

    private static bool Accelerated => Avx2.IsSupported && Fma.IsSupported;

    /// <summary>Converts whole planes.</summary>
    /// <param name="rgb">Three planes of <paramref name="count"/> values, one after the other; value·scale + bias is sRGB in [0, 1], cut to it.</param>
    /// <param name="count">Pixels.</param>
    /// <param name="scaleBias">Scale and bias of red, green, blue.</param>
    /// <param name="lightness">L*, one plane.</param>
    /// <param name="chroma">a* and b*, two planes; may be the memory of <paramref name="rgb"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Convert(ReadOnlySpan<float> rgb, int count, ReadOnlySpan<float> scaleBias, Span<float> lightness, Span<float> chroma)
    {
        var whole = Accelerated ? count & ~(Block - 1) : 0;
        if (rgb.Length < 3 * count || scaleBias.Length < 6 || lightness.Length < count || chroma.Length < 2 * count)
        {
            throw new ArgumentException($"spans too short for {count} pixels", nameof(count));
        }

        fixed (float* source = rgb, light = lightness, colour = chroma)
        {
            for (var i = 0; i < whole; i += Block)
            {
                var r = Linear(Vector512.Load(source + i), scaleBias[0], scaleBias[1]);
                var g = Linear(Vector512.Load(source + count + i), scaleBias[2], scaleBias[3]);
                var b = Linear(Vector512.Load(source + (2 * count) + i), scaleBias[4], scaleBias[5]);
                var x = Root(Row(r, g, b, 0));
                var y = Root(Row(r, g, b, 3));
                var z = Root(Row(r, g, b, 6));
                Vector512.FusedMultiplyAdd(y, Vector512.Create(116f), Vector512.Create(-16f)).Store(light + i);
                ((x - y) * 500f).Store(colour + i);
                ((y - z) * 200f).Store(colour + count + i);
            }
        }

        Scalar(rgb, whole, count, scaleBias, lightness, chroma);
    }

    /// <summary>The same for pixels from <paramref name="first"/> on, by the functions of <see cref="CieLab"/>.</summary>
    public static void Scalar(ReadOnlySpan<float> rgb, int first, int count, ReadOnlySpan<float> scaleBias, Span<float> lightness, Span<float> chroma)
    {
        for (var i = first; i < count; i++)
        {
            var r = Math.Clamp((rgb[i] * scaleBias[0]) + scaleBias[1], 0, 1);
            var g = Math.Clamp((rgb[count + i] * scaleBias[2]) + scaleBias[3], 0, 1);
            var b = Math.Clamp((rgb[(2 * count) + i] * scaleBias[4]) + scaleBias[5], 0, 1);
            var (l, a, c) = CieLab.FromSrgb(r, g, b);
            (lightness[i], chroma[i], chroma[count + i]) = ((float)l, (float)a, (float)c);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Row(Vector512<float> r, Vector512<float> g, Vector512<float> b, int row) =>
        Vector512.FusedMultiplyAdd(r, Vector512.Create(Matrix[row]), Vector512.FusedMultiplyAdd(g, Vector512.Create(Matrix[row + 1]), b * Matrix[row + 2]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Linear(Vector512<float> value, float scale, float bias)
    {
        var v = Vector512.FusedMultiplyAdd(value, Vector512.Create(scale), Vector512.Create(bias));
        v = Vector512.Min(Vector512.Max(v, Vector512<float>.Zero), Vector512<float>.One);
        var y = (v + Vector512.Create((float)CieLab.PowerOffset)) * (float)(1 / (1 + CieLab.PowerOffset));

        // y^2.4 = y²·(y^(1/5))²; Newton for r⁵ = y: r ← 0.8·r + 0.2·y/r⁴.
        var r = Guess(y, 1f / 5, FifthRootBits);
        for (var i = 0; i < 3; i++)
        {
            var square = r * r;
            r = Vector512.FusedMultiplyAdd(r, Vector512.Create(0.8f), 0.2f * y / (square * square));
        }

        var power = y * r;
        return Vector512.ConditionalSelect(
            Vector512.GreaterThan(v, Vector512.Create((float)CieLab.LinearUpTo)), power * power, v * (float)CieLab.LinearSlope);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Root(Vector512<float> t)
    {
        // Halley for r³ = t: r ← r·(r³ + 2t)/(2r³ + t). Below the threshold the result is not used, but must not divide by zero.
        var from = Vector512.Create((float)CieLab.RootFrom);
        var safe = Vector512.Max(t, from);
        var r = Guess(safe, 1f / 3, CubeRootBits);
        for (var i = 0; i < 2; i++)
        {
            var cube = r * r * r;
            r = r * (cube + safe + safe) / (cube + cube + safe);
        }

        var line = Vector512.FusedMultiplyAdd(t, Vector512.Create((float)CieLab.RootSlope), Vector512.Create((float)CieLab.RootOffset));
        return Vector512.ConditionalSelect(Vector512.GreaterThan(t, from), r, line);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Guess(Vector512<float> value, float part, float offset) =>
        Vector512.ConvertToInt32(Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(value.AsInt32()), Vector512.Create(part), Vector512.Create(offset))).AsSingle();
}

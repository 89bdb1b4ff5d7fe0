using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace SslResearch.Core.Augment;

/// <content>Programs over pixels.</content>
internal static unsafe partial class VectorKernels
{
    /// <inheritdoc cref="ScalarKernels.Points"/>
    /// <param name="tail">One block per channel, for the pixels after the last whole block.</param>
#pragma warning disable CS1573 // The other parameters are documented at the twin.
    public static double Points(
        float* source, int sourceStride, float* target, int targetStride, int count, int channels, ReadOnlySpan<PointOp> program, float* scaleBias, float* tail)
#pragma warning restore CS1573
    {
        if (!Accelerated)
        {
            return ScalarKernels.Points(source, sourceStride, target, targetStride, count, channels, program, scaleBias);
        }

        var whole = count & ~(Block - 1);
        var rest = count - whole;
        Span<float> scale = stackalloc float[3];
        Span<float> bias = stackalloc float[3];
        for (var c = 0; c < channels; c++)
        {
            (scale[c], bias[c]) = scaleBias == null ? (1, 0) : (scaleBias[2 * c], scaleBias[(2 * c) + 1]);
        }

        var gray = channels == 3
            ? Colour(source, sourceStride, target, targetStride, whole, Block, program, scale, bias)
            : Single(source, target, whole, Block, program, scale[0], bias[0]);
        if (rest > 0)
        {
            gray += channels == 3
                ? Colour(source + whole, sourceStride, tail, Block, Block, rest, program, scale, bias)
                : Single(source + whole, tail, Block, rest, program, scale[0], bias[0]);
            for (var c = 0; c < channels; c++)
            {
                new ReadOnlySpan<float>(tail + (c * Block), rest).CopyTo(new Span<float>(target + (c * targetStride) + whole, rest));
            }
        }

        return gray;
    }

    /// <summary>Whole blocks of three planes; the sum of gray counts the first <paramref name="lanes"/> of each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Colour(
        float* source, int sourceStride, float* target, int targetStride, int count, int lanes, ReadOnlySpan<PointOp> program, ReadOnlySpan<float> scale, ReadOnlySpan<float> bias)
    {
        var (zero, one, two, top) = (Vector512<float>.Zero, Vector512.Create(1f), Vector512.Create(2f), Vector512.Create(255f));
        var (red, green, blue) = (Vector512.Create(ScalarKernels.Red), Vector512.Create(ScalarKernels.Green), Vector512.Create(ScalarKernels.Blue));
        var (scaleR, scaleG, scaleB) = (Vector512.Create(scale[0]), Vector512.Create(scale[1]), Vector512.Create(scale[2]));
        var (biasR, biasG, biasB) = (Vector512.Create(bias[0]), Vector512.Create(bias[1]), Vector512.Create(bias[2]));
        var gray = zero;
        for (var i = 0; i < count; i += Block)
        {
            var r = Vector512.Load(source + i);
            var g = Vector512.Load(source + sourceStride + i);
            var b = Vector512.Load(source + (2 * sourceStride) + i);
            for (var step = 0; step < program.Length; step++)
            {
                ref readonly var op = ref program[step];
                var a = Vector512.Create(op.A);
                switch (op.Kind)
                {
                    case PointKind.Brightness:
                    case PointKind.Contrast:
                        {
                            var rest = Vector512.Create(op.B);
                            r = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, r, rest), zero), top);
                            g = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, g, rest), zero), top);
                            b = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, b, rest), zero), top);
                            break;
                        }

                    case PointKind.Saturation:
                        {
                            var luma = Vector512.FusedMultiplyAdd(red, r, Vector512.FusedMultiplyAdd(green, g, blue * b));
                            var rest = (one - a) * luma;
                            r = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, r, rest), zero), top);
                            g = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, g, rest), zero), top);
                            b = Vector512.MinNative(Vector512.MaxNative(Vector512.FusedMultiplyAdd(a, b, rest), zero), top);
                            break;
                        }

                    case PointKind.Hue:
                        {
                            var high = Vector512.MaxNative(r, Vector512.MaxNative(g, b));
                            var low = Vector512.MinNative(r, Vector512.MinNative(g, b));
                            var chroma = high - low;

                            // Gray pixels have chroma 0 and numerators 0: any divisor serves.
                            var inverse = one / Vector512.MaxNative(chroma, Vector512.Create(1e-20f));
                            var isRed = Vector512.Equals(high, r);
                            var isGreen = Vector512.Equals(high, g);
                            var difference = Vector512.ConditionalSelect(isRed, g - b, Vector512.ConditionalSelect(isGreen, b - r, r - g));
                            var sector = Vector512.ConditionalSelect(isRed, zero, Vector512.ConditionalSelect(isGreen, two, Vector512.Create(4f)));
                            var hue = Vector512.FusedMultiplyAdd(difference, inverse, sector + a);
                            hue -= Vector512.Floor(hue * Vector512.Create(1 / 6f)) * Vector512.Create(6f);
                            var x = Vector512.Abs(hue - Vector512.Create(3f)) - one;
                            var y = two - Vector512.Abs(hue - two);
                            var z = two - Vector512.Abs(hue - Vector512.Create(4f));
                            r = Vector512.FusedMultiplyAdd(chroma, Vector512.MinNative(Vector512.MaxNative(x, zero), one), low);
                            g = Vector512.FusedMultiplyAdd(chroma, Vector512.MinNative(Vector512.MaxNative(y, zero), one), low);
                            b = Vector512.FusedMultiplyAdd(chroma, Vector512.MinNative(Vector512.MaxNative(z, zero), one), low);
                            break;
                        }

                    case PointKind.Gray:
                        r = Vector512.FusedMultiplyAdd(red, r, Vector512.FusedMultiplyAdd(green, g, blue * b));
                        g = r;
                        b = r;
                        break;
                    case PointKind.Solarize:
                        r = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(r, a), top - r, r);
                        g = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(g, a), top - g, g);
                        b = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(b, a), top - b, b);
                        break;
                }
            }

            gray += Vector512.FusedMultiplyAdd(red, r, Vector512.FusedMultiplyAdd(green, g, blue * b));
            Vector512.FusedMultiplyAdd(r, scaleR, biasR).Store(target + i);
            Vector512.FusedMultiplyAdd(g, scaleG, biasG).Store(target + targetStride + i);
            Vector512.FusedMultiplyAdd(b, scaleB, biasB).Store(target + (2 * targetStride) + i);
        }

        return SumOfLanes(gray, lanes);
    }

    /// <summary>The same for one plane, where saturation, hue and gray do nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Single(float* source, float* target, int count, int lanes, ReadOnlySpan<PointOp> program, float scale, float bias)
    {
        var top = Vector512.Create(255f);
        var sum = Vector512<float>.Zero;
        for (var i = 0; i < count; i += Block)
        {
            var v = Vector512.Load(source + i);
            foreach (ref readonly var op in program)
            {
                v = op.Kind switch
                {
                    PointKind.Brightness or PointKind.Contrast => Clamp(Vector512.FusedMultiplyAdd(Vector512.Create(op.A), v, Vector512.Create(op.B))),
                    PointKind.Solarize => Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(v, Vector512.Create(op.A)), top - v, v),
                    _ => v,
                };
            }

            sum += v;
            Vector512.FusedMultiplyAdd(v, Vector512.Create(scale), Vector512.Create(bias)).Store(target + i);
        }

        return SumOfLanes(sum, lanes);
    }

    private static double SumOfLanes(Vector512<float> values, int lanes)
    {
        var sum = 0.0;
        for (var i = 0; i < lanes; i++)
        {
            sum += values.GetElement(i);
        }

        return sum;
    }
}

namespace SslResearch.Core.Augment;

/// <summary>The plain twins of <see cref="VectorKernels"/>: the same results up to rounding, and the only ones where there is no SIMD.</summary>
internal static unsafe class ScalarKernels
{
    /// <summary>Weights of torchvision's tensor path; Pillow's differ in the fourth digit.</summary>
    public const float Red = 0.2989f, Green = 0.587f, Blue = 0.114f;

    /// <summary>Splits a row of interleaved bytes into one row of floats per channel.</summary>
    public static void LoadRow(byte* source, int width, int channels, float* rows, int rowStride)
    {
        for (var x = 0; x < width; x++)
        {
            for (var c = 0; c < channels; c++)
            {
                rows[(c * rowStride) + x] = source[(x * channels) + c];
            }
        }
    }

    /// <summary>One row along x.</summary>
    public static void Horizontal(float* source, float* target, in AxisTable table)
    {
        for (var x = 0; x < table.Length; x++)
        {
            var sum = 0f;
            for (var k = 0; k < table.Taps; k++)
            {
                sum += table.Weights[(k * table.Stride) + x] * source[table.Start[x] + k];
            }

            target[x] = sum;
        }
    }

    /// <summary>One plane along y, each row of <paramref name="source"/> lying <paramref name="stride"/> apart, into rows without gaps.</summary>
    public static void Vertical(float* source, int stride, float* target, int width, in AxisTable table, bool clamp)
    {
        for (var y = 0; y < table.Length; y++)
        {
            for (var x = 0; x < width; x++)
            {
                var sum = 0f;
                for (var k = 0; k < table.Taps; k++)
                {
                    sum += table.Weights[(k * table.Stride) + y] * source[((table.Start[y] + k) * stride) + x];
                }

                target[(y * width) + x] = clamp ? Clamp(sum) : sum;
            }
        }
    }

    /// <summary>
    /// Runs a program over the pixels of an image of one or three planes; returns the sum of the gray of the results.
    /// The results are multiplied by scale and moved by bias per channel (null: left as they are).
    /// </summary>
    public static double Points(
        float* source, int sourceStride, float* target, int targetStride, int count, int channels, ReadOnlySpan<PointOp> program, float* scaleBias)
    {
        var gray = 0.0;
        for (var i = 0; i < count; i++)
        {
            var r = source[i];
            var g = channels == 3 ? source[sourceStride + i] : r;
            var b = channels == 3 ? source[(2 * sourceStride) + i] : r;
            foreach (var op in program)
            {
                Apply(op, channels, ref r, ref g, ref b);
            }

            gray += channels == 3 ? Luma(r, g, b) : r;
            target[i] = scaleBias == null ? r : (r * scaleBias[0]) + scaleBias[1];
            if (channels == 3)
            {
                target[targetStride + i] = scaleBias == null ? g : (g * scaleBias[2]) + scaleBias[3];
                target[(2 * targetStride) + i] = scaleBias == null ? b : (b * scaleBias[4]) + scaleBias[5];
            }
        }

        return gray;
    }

    /// <summary>
    /// A symmetric filter over <paramref name="count"/> elements (whole blocks), neighbours lying <paramref name="step"/> apart;
    /// <paramref name="round"/> to whole numbers, halves up.
    /// </summary>
    public static void Pass(float* source, float* target, int count, int step, float* half, int radius, bool round)
    {
        for (var i = 0; i < count; i++)
        {
            var sum = half[0] * source[i];
            for (var j = 1; j <= radius; j++)
            {
                sum += half[j] * (source[i - (j * step)] + source[i + (j * step)]);
            }

            target[i] = round ? MathF.Floor(sum + 0.5f) : sum;
        }
    }

    private static void Apply(in PointOp op, int channels, ref float r, ref float g, ref float b)
    {
        switch (op.Kind)
        {
            case PointKind.Brightness:
            case PointKind.Contrast:
                (r, g, b) = (Clamp((op.A * r) + op.B), Clamp((op.A * g) + op.B), Clamp((op.A * b) + op.B));
                break;
            case PointKind.Saturation when channels == 3:
                var rest = (1 - op.A) * Luma(r, g, b);
                (r, g, b) = (Clamp((op.A * r) + rest), Clamp((op.A * g) + rest), Clamp((op.A * b) + rest));
                break;
            case PointKind.Hue when channels == 3:
                TurnHue(op.A, ref r, ref g, ref b);
                break;
            case PointKind.Gray when channels == 3:
                r = g = b = Luma(r, g, b);
                break;
            case PointKind.Solarize:
                (r, g, b) = (r >= op.A ? 255 - r : r, g >= op.A ? 255 - g : g, b >= op.A ? 255 - b : b);
                break;
        }
    }

    /// <summary>RGB to HSV, a turn in sixths of the circle, and back, without naming the sector.</summary>
    private static void TurnHue(float turn, ref float r, ref float g, ref float b)
    {
        var high = Math.Max(r, Math.Max(g, b));
        var low = Math.Min(r, Math.Min(g, b));
        var chroma = high - low;
        if (chroma == 0)
        {
            return;
        }

        var hue = high == r ? (g - b) / chroma : high == g ? 2 + ((b - r) / chroma) : 4 + ((r - g) / chroma);
        hue += turn;
        hue -= 6 * MathF.Floor(hue / 6);
        r = low + (chroma * Math.Clamp(Math.Abs(hue - 3) - 1, 0, 1));
        g = low + (chroma * Math.Clamp(2 - Math.Abs(hue - 2), 0, 1));
        b = low + (chroma * Math.Clamp(2 - Math.Abs(hue - 4), 0, 1));
    }

    private static float Luma(float r, float g, float b) => (Red * r) + (Green * g) + (Blue * b);

    private static float Clamp(float v) => Math.Clamp(v, 0, 255);
}

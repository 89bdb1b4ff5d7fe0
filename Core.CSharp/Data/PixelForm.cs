using System.Buffers;

namespace SslResearch.Core.Data;

/// <summary>Brings a decoded image into the form that a pack stores: channels, then size.</summary>
internal static class PixelForm
{
    /// <summary>Longest side that a pack takes.</summary>
    private const int LongestSide = FrameStrip.Highest;

    private const int LargestTarget = 4096;

    /// <summary>The shape that <see cref="Apply"/> gives.</summary>
    /// <param name="shape">Of the decoded image.</param>
    /// <param name="channels">To store.</param>
    /// <param name="rule">What happens to the size.</param>
    /// <param name="problem">Why no pack takes it; null where one does.</param>
    public static ImageShape Stored(ImageShape shape, int channels, ResizeRule rule, out string? problem)
    {
        var stored = rule switch
        {
            ResizeRule.Exact exact => new ImageShape(exact.Height, exact.Width, channels),
            ResizeRule.ShorterSideThenCentreCrop crop => new ImageShape(crop.Size, crop.Size, channels),
            _ => shape with { Channels = channels },
        };
        problem = Math.Max(stored.Height, stored.Width) > LongestSide
            ? $"{stored.Width} pixels wide and {stored.Height} high, where at most {LongestSide} can be stored; --resize makes it smaller"
            : null;
        return stored;
    }

    /// <summary>Bytes that <see cref="Apply"/> takes at most beside its input.</summary>
    public static long WorkingBytes(int channels, ResizeRule rule) => rule switch
    {
        ResizeRule.Exact exact => (long)exact.Height * exact.Width * channels * (sizeof(float) + 1),
        ResizeRule.ShorterSideThenCentreCrop crop => (long)crop.Size * crop.Size * channels * (sizeof(float) + 1),
        _ => 0,
    };

    /// <summary>Applies a rule to an image of <paramref name="shape"/>, whose bytes may be overwritten.</summary>
    /// <returns>(H, W, C) of the shape that <see cref="Stored"/> gives; the input itself where nothing changes.</returns>
    public static ReadOnlySpan<byte> Apply(Span<byte> pixels, ImageShape shape, int channels, ResizeRule rule)
    {
        if (shape.Channels != channels)
        {
            pixels = shape.Channels == 3 ? ToGrey(pixels) : Repeat(pixels);
            shape = shape with { Channels = channels };
        }

        switch (rule)
        {
            case ResizeRule.Exact exact:
                return Resize(pixels, shape, new Axis(shape.Height, exact.Height, 0, exact.Height), new Axis(shape.Width, exact.Width, 0, exact.Width));
            case ResizeRule.ShorterSideThenCentreCrop crop:
                var shorter = Math.Min(shape.Height, shape.Width);
                return Resize(pixels, shape, Middle(shape.Height, crop.Size, shorter), Middle(shape.Width, crop.Size, shorter));
            default:
                return pixels;
        }
    }

    /// <summary>Checks a rule before anything is read.</summary>
    public static void Check(ResizeRule rule, int? channels)
    {
        var valid = rule switch
        {
            ResizeRule.None => true,
            ResizeRule.Exact e => e.Height is > 0 and <= LargestTarget && e.Width is > 0 and <= LargestTarget,
            ResizeRule.ShorterSideThenCentreCrop c => c.Size is > 0 and <= LargestTarget,
            _ => false,
        };
        if (!valid)
        {
            throw new DataException($"--resize takes sides of 1 to {LargestTarget} pixels.");
        }

        if (channels is not (null or 1 or 3))
        {
            throw new DataException($"Images are stored with 1 or 3 channels: --channels {channels} is neither.");
        }
    }

    /// <summary>BT.601 luma with the fixed-point weights of Pillow's conversion to "L"; in place.</summary>
    private static Span<byte> ToGrey(Span<byte> rgb)
    {
        var grey = rgb[..(rgb.Length / 3)];
        for (var i = 0; i < grey.Length; i++)
        {
            grey[i] = (byte)(((rgb[3 * i] * 19595) + (rgb[(3 * i) + 1] * 38470) + (rgb[(3 * i) + 2] * 7471) + 0x8000) >> 16);
        }

        return grey;
    }

    private static Span<byte> Repeat(Span<byte> grey)
    {
        var rgb = new byte[grey.Length * 3];
        for (var i = 0; i < rgb.Length; i++)
        {
            rgb[i] = grey[i / 3];
        }

        return rgb;
    }

    /// <summary>One side of an image: <paramref name="From"/> pixels become <paramref name="To"/>, of which some are kept.</summary>
    private readonly record struct Axis(int From, long To, long First, int Kept);

    private static Axis Middle(int side, int size, int shorter)
    {
        var to = Math.Max(size, (long)Math.Round((double)side * size / shorter));
        return new Axis(side, to, (to - size) / 2, size);
    }

    /// <summary>
    /// Bilinear with the triangle widened by the reduction, as Pillow does: no aliasing. Only what is kept is computed, row after row of the source.
    /// </summary>
    private static Span<byte> Resize(Span<byte> pixels, ImageShape shape, Axis rows, Axis columns)
    {
        if (shape.Height == rows.To && shape.Width == columns.To)
        {
            return Crop(pixels, shape, rows, columns);
        }

        var channels = shape.Channels;
        var stride = columns.Kept * channels;
        var down = Enumerable.Range(0, rows.Kept).Select(i => Weights(rows.First + i, rows.From, rows.To)).ToArray();
        var across = Enumerable.Range(0, columns.Kept).Select(i => Weights(columns.First + i, columns.From, columns.To)).ToArray();
        var sums = ArrayPool<float>.Shared.Rent(rows.Kept * stride);
        try
        {
            sums.AsSpan(0, rows.Kept * stride).Fill(0.5f);
            var line = new float[stride];

            // Output rows whose span holds the source row: both ends of the spans never go back.
            var (top, bottom) = (0, 0);
            for (var row = down[0].First; row < down[^1].First + down[^1].Weights.Length; row++)
            {
                while (bottom < down.Length && down[bottom].First <= row)
                {
                    bottom++;
                }

                while (top < bottom && down[top].First + down[top].Weights.Length <= row)
                {
                    top++;
                }

                Across(pixels.Slice(row * shape.Width * channels, shape.Width * channels), channels, across, line);
                for (var i = top; i < bottom; i++)
                {
                    var weight = down[i].Weights[row - down[i].First];
                    var sum = sums.AsSpan(i * stride, stride);
                    for (var k = 0; k < sum.Length; k++)
                    {
                        sum[k] += weight * line[k];
                    }
                }
            }

            var resized = new byte[rows.Kept * stride];
            for (var i = 0; i < resized.Length; i++)
            {
                resized[i] = (byte)Math.Clamp(sums[i], 0, 255);
            }

            return resized;
        }
        finally
        {
            ArrayPool<float>.Shared.Return(sums);
        }
    }

    private static void Across(ReadOnlySpan<byte> row, int channels, (int First, float[] Weights)[] across, float[] line)
    {
        for (var column = 0; column < across.Length; column++)
        {
            var (first, weights) = across[column];
            for (var c = 0; c < channels; c++)
            {
                var sum = 0f;
                for (var k = 0; k < weights.Length; k++)
                {
                    sum += weights[k] * row[((first + k) * channels) + c];
                }

                line[(column * channels) + c] = sum;
            }
        }
    }

    private static Span<byte> Crop(Span<byte> pixels, ImageShape shape, Axis rows, Axis columns)
    {
        if (shape.Height == rows.Kept && shape.Width == columns.Kept)
        {
            return pixels;
        }

        var rowBytes = columns.Kept * shape.Channels;
        var cropped = new byte[rows.Kept * rowBytes];
        for (var row = 0; row < rows.Kept; row++)
        {
            pixels.Slice((int)((((rows.First + row) * shape.Width) + columns.First) * shape.Channels), rowBytes).CopyTo(cropped.AsSpan(row * rowBytes));
        }

        return cropped;
    }

    private static (int First, float[] Weights) Weights(long position, int from, long to)
    {
        var scale = (double)from / to;
        var support = Math.Max(1, scale);
        var centre = (position + 0.5) * scale;
        var first = Math.Max(0, (int)(centre - support + 0.5));
        var last = Math.Min(from, (int)(centre + support + 0.5));
        var weights = new double[last - first];
        for (var k = 0; k < weights.Length; k++)
        {
            weights[k] = Math.Max(0, 1 - Math.Abs((first + k + 0.5 - centre) / support));
        }

        var total = weights.Sum();
        return (first, [.. weights.Select(w => (float)(w / total))]);
    }
}

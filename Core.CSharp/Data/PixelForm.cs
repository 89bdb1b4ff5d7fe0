namespace SslResearch.Core.Data;

/// <summary>Brings a decoded image into the form that a pack stores: channels, then size.</summary>
internal static class PixelForm
{
    /// <summary>Applies a rule. Returns the pixels (H, W, C) and their shape; the input itself where nothing changes.</summary>
    public static (byte[] Pixels, ImageShape Shape) Apply(byte[] pixels, ImageShape shape, int channels, ResizeRule rule)
    {
        if (shape.Channels != channels)
        {
            pixels = shape.Channels == 3 ? ToGrey(pixels) : Repeat(pixels);
            shape = shape with { Channels = channels };
        }

        switch (rule)
        {
            case ResizeRule.Exact exact:
                return Resize(pixels, shape, exact.Height, exact.Width);
            case ResizeRule.ShorterSideThenCentreCrop crop:
                var shorter = Math.Min(shape.Height, shape.Width);
                var height = Math.Max(crop.Size, (int)Math.Round((double)shape.Height * crop.Size / shorter));
                var width = Math.Max(crop.Size, (int)Math.Round((double)shape.Width * crop.Size / shorter));
                (pixels, shape) = Resize(pixels, shape, height, width);
                return Crop(pixels, shape, crop.Size);
            default:
                return (pixels, shape);
        }
    }

    /// <summary>Checks a rule before anything is read.</summary>
    public static void Check(ResizeRule rule, int? channels)
    {
        var valid = rule switch
        {
            ResizeRule.None => true,
            ResizeRule.Exact e => e.Height is > 0 and <= 4096 && e.Width is > 0 and <= 4096,
            ResizeRule.ShorterSideThenCentreCrop c => c.Size is > 0 and <= 4096,
            _ => false,
        };
        if (!valid)
        {
            throw new DataException($"The resize rule {rule} is not usable: sides must be 1 to 4096 pixels.");
        }

        if (channels is not (null or 1 or 3))
        {
            throw new DataException($"Images are stored with 1 or 3 channels, not {channels}.");
        }
    }

    /// <summary>BT.601 luma with the fixed-point weights of Pillow's conversion to "L".</summary>
    private static byte[] ToGrey(byte[] rgb)
    {
        var grey = new byte[rgb.Length / 3];
        for (var i = 0; i < grey.Length; i++)
        {
            grey[i] = (byte)(((rgb[3 * i] * 19595) + (rgb[(3 * i) + 1] * 38470) + (rgb[(3 * i) + 2] * 7471) + 0x8000) >> 16);
        }

        return grey;
    }

    private static byte[] Repeat(byte[] grey)
    {
        var rgb = new byte[grey.Length * 3];
        for (var i = 0; i < rgb.Length; i++)
        {
            rgb[i] = grey[i / 3];
        }

        return rgb;
    }

    private static (byte[] Pixels, ImageShape Shape) Crop(byte[] pixels, ImageShape shape, int size)
    {
        if (shape.Height == size && shape.Width == size)
        {
            return (pixels, shape);
        }

        var cropped = new byte[size * size * shape.Channels];
        var top = (shape.Height - size) / 2;
        var left = (shape.Width - size) / 2;
        var rowBytes = size * shape.Channels;
        for (var row = 0; row < size; row++)
        {
            pixels.AsSpan((((top + row) * shape.Width) + left) * shape.Channels, rowBytes).CopyTo(cropped.AsSpan(row * rowBytes));
        }

        return (cropped, new ImageShape(size, size, shape.Channels));
    }

    /// <summary>Bilinear with the triangle widened by the reduction, as Pillow does: no aliasing.</summary>
    private static (byte[] Pixels, ImageShape Shape) Resize(byte[] pixels, ImageShape shape, int height, int width)
    {
        if (shape.Height == height && shape.Width == width)
        {
            return (pixels, shape);
        }

        var channels = shape.Channels;
        var wide = new float[shape.Height * width * channels];
        for (var column = 0; column < width; column++)
        {
            var (first, weights) = Weights(column, shape.Width, width);
            for (var row = 0; row < shape.Height; row++)
            {
                for (var c = 0; c < channels; c++)
                {
                    var sum = 0f;
                    for (var k = 0; k < weights.Length; k++)
                    {
                        sum += weights[k] * pixels[(((row * shape.Width) + first + k) * channels) + c];
                    }

                    wide[(((row * width) + column) * channels) + c] = sum;
                }
            }
        }

        var resized = new byte[height * width * channels];
        var stride = width * channels;
        for (var row = 0; row < height; row++)
        {
            var (first, weights) = Weights(row, shape.Height, height);
            for (var i = 0; i < stride; i++)
            {
                var sum = 0.5f;
                for (var k = 0; k < weights.Length; k++)
                {
                    sum += weights[k] * wide[((first + k) * stride) + i];
                }

                resized[(row * stride) + i] = (byte)Math.Clamp(sum, 0, 255);
            }
        }

        return (resized, new ImageShape(height, width, channels));
    }

    private static (int First, float[] Weights) Weights(int position, int from, int to)
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

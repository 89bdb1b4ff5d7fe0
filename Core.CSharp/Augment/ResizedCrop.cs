using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// A random box resized to a fixed size (torchvision's RandomResizedCrop): area uniform in its range, log of the ratio uniform; ten tries,
/// then the largest centred box whose ratio is in range.
/// </summary>
/// <param name="MinArea">Smallest part of the image's area, above 0.</param>
/// <param name="MaxArea">Largest part, up to 1.</param>
/// <param name="MinRatio">Smallest width/height.</param>
/// <param name="MaxRatio">Largest width/height.</param>
/// <param name="Height">Rows of the result.</param>
/// <param name="Width">Columns of the result.</param>
/// <param name="Mode">Filter.</param>
public sealed record ResizedCrop(
    double MinArea, double MaxArea, double MinRatio, double MaxRatio, int Height, int Width, Interpolation Mode) : ViewOp
{
    private const int Tries = 10;

    /// <inheritdoc/>
    public override IEnumerable<string> Problems()
    {
        if (!(MinArea > 0 && MinArea <= MaxArea && MaxArea <= 1))
        {
            yield return $"ResizedCrop: area range {MinArea} to {MaxArea} is not inside (0, 1] in rising order";
        }

        if (!(MinRatio > 0 && MinRatio <= MaxRatio && double.IsFinite(MaxRatio)))
        {
            yield return $"ResizedCrop: ratio range {MinRatio} to {MaxRatio} is not above 0 in rising order";
        }

        if (Height < 1 || Width < 1)
        {
            yield return $"ResizedCrop: size {Height}x{Width} is not at least 1x1";
        }
    }

    /// <inheritdoc/>
    internal override (int Height, int Width) OutputSize(int height, int width) => (Height, Width);

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width)
    {
        var (low, high) = (Math.Log(MinRatio), Math.Log(MaxRatio));
        for (var i = 0; i < Tries; i++)
        {
            var target = height * width * random.NextDouble(MinArea, MaxArea);
            var ratio = Math.Exp(random.NextDouble(low, high));
            var w = (int)Math.Round(Math.Sqrt(target * ratio));
            var h = (int)Math.Round(Math.Sqrt(target / ratio));
            if (w > 0 && w <= width && h > 0 && h <= height)
            {
                return new OpDraw
                {
                    Applied = true,
                    Top = (int)random.NextBelow((uint)(height - h + 1)),
                    Left = (int)random.NextBelow((uint)(width - w + 1)),
                    Height = h,
                    Width = w,
                };
            }
        }

        return Fallback(height, width);
    }

    /// <summary>The largest centred box whose ratio is in range.</summary>
    internal OpDraw Fallback(int height, int width)
    {
        var ratio = (double)width / height;
        var w = ratio > MaxRatio ? (int)Math.Round(height * MaxRatio) : width;
        var h = ratio < MinRatio ? (int)Math.Round(width / MinRatio) : height;
        (w, h) = (Math.Clamp(w, 1, width), Math.Clamp(h, 1, height));
        return new OpDraw { Applied = true, Top = (height - h) / 2, Left = (width - w) / 2, Height = h, Width = w };
    }

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => FormattableString.Invariant($"crop {draw.Width}x{draw.Height}+{draw.Left}+{draw.Top}");
}

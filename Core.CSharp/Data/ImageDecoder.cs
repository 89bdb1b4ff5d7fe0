using SkiaSharp;

namespace SslResearch.Core.Data;

/// <summary>
/// Decodes one JPEG, PNG, BMP, GIF, WebP or TIFF file to (H, W, 3) RGB, of several frames or pages the first. Grey is repeated. Transparency is dropped
/// without blending, as Pillow's conversion to "RGB" does: a transparent pixel keeps the colour that the file gives it, in every format.
/// </summary>
/// <param name="ignoreOrientation">Leaves rows and columns as they are stored instead of turning them as the orientation tag says.</param>
/// <param name="budget">Pays for pixels and the decoder's own memory.</param>
/// <param name="extra">Bytes that whoever takes the pixels needs beside them.</param>
internal sealed class ImageDecoder(bool ignoreOrientation, ByteBudget budget, long extra)
{
    private const int Rgb = 3;
    private const int Rgba = 4;

    private static readonly HashSet<string> Extensions =
        new(StringComparer.OrdinalIgnoreCase) { ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff" };

    public static bool IsImage(string path) => Extensions.Contains(Path.GetExtension(path));

    /// <summary>Decodes a file; waits until its memory is free.</summary>
    /// <param name="file">The whole file.</param>
    /// <param name="cancel">Ends the waiting.</param>
    /// <param name="problem">Why it cannot be decoded; null where it can.</param>
    /// <returns>Null where it cannot.</returns>
    public DecodedPixels? Decode(NativeBytes file, CancellationToken cancel, out string? problem)
    {
        try
        {
            return DecodeFormat(file, cancel, out problem);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Only decoders run here: what they throw, a file made them throw.
            problem = e is OutOfMemoryException ? "not enough memory to decode it" : $"damaged image ({e.Message})";
            return null;
        }
    }

    private DecodedPixels? DecodeFormat(NativeBytes file, CancellationToken cancel, out string? problem)
    {
        var format = ImageFormats.Of(file.Span);
        problem = file.Length == 0 ? "empty file" : format == ImageFormat.Unknown ? "not a readable image" : ImageEnd.IsMissing(file.Span) ? "truncated image" : null;
        if (problem is not null)
        {
            return null;
        }

        return format switch
        {
            ImageFormat.Gif => Palette(file.Span, GifDecoder.Size(file.Span), GifDecoder.Decode, cancel, out problem),
            ImageFormat.Bmp when BmpDecoder.Size(file.Span) is { } size => Palette(file.Span, size, BmpDecoder.Decode, cancel, out problem),
            ImageFormat.Tiff => Tiff(file, cancel, out problem),
            _ => Skia(file, format, cancel, out problem),
        };
    }

    private delegate string? PaletteDecoder(ReadOnlySpan<byte> file, Span<byte> rgb);

    private DecodedPixels? Palette(
        ReadOnlySpan<byte> file, (int Width, int Height) size, PaletteDecoder decode, CancellationToken cancel, out string? problem)
    {
        var (width, height) = size;
        if ((problem = Unusable(width, height, Rgb)) is not null)
        {
            return null;
        }

        var shape = new ImageShape(height, width, Rgb);
        var pixels = new DecodedPixels(new NativeBytes(shape.Bytes, extra, budget, cancel), shape);
        problem = decode(file, pixels.Span);
        return OrDispose(pixels, problem);
    }

    private DecodedPixels? Tiff(NativeBytes file, CancellationToken cancel, out string? problem)
    {
        using var tiff = TiffDecoder.Open(file, out problem);
        if (tiff is null)
        {
            return null;
        }

        var orientation = ignoreOrientation ? Orientation.Upright : tiff.Orientation;
        if ((problem = Unusable(tiff.Width, tiff.Height, Rgb, orientation, tiff.WorkingBytes)) is not null)
        {
            return null;
        }

        var shape = new ImageShape(tiff.Height, tiff.Width, Rgb);
        var charge = extra + tiff.WorkingBytes + Turning(shape, orientation);
        var pixels = new DecodedPixels(new NativeBytes(shape.Bytes, charge, budget, cancel), shape);
        problem = tiff.Decode(pixels.Span);
        return Turned(OrDispose(pixels, problem), orientation);
    }

    private unsafe DecodedPixels? Skia(NativeBytes file, ImageFormat format, CancellationToken cancel, out string? problem)
    {
        using var data = SKData.Create(file.Start, file.Length);
        using var codec = SKCodec.Create(data);
        if (codec is null)
        {
            problem = "not a readable image";
            return null;
        }

        var (width, height) = (codec.Info.Width, codec.Info.Height);
        var orientation = ignoreOrientation ? Orientation.Upright : format switch
        {
            ImageFormat.Png => Orientation.OfPng(file.Span),
            ImageFormat.Jpeg or ImageFormat.WebP => (int)codec.EncodedOrigin,
            _ => Orientation.Upright,
        };

        // What libjpeg, libpng and libwebp hold of a whole image at most: coefficients of several scans, an interlaced image of 16 bits, a lossless one.
        const int most = 8, interlacedAt = 28;
        var whole = format == ImageFormat.WebP
            || (format == ImageFormat.Png && file.Span[interlacedAt] != 0)
            || (format == ImageFormat.Jpeg && ImageEnd.HasScans(file.Span));
        var working = whole ? (long)width * height * most : 0;
        if ((problem = Unusable(width, height, Rgba, orientation, working)) is not null)
        {
            return null;
        }

        var info = new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        var shape = new ImageShape(height, width, Rgb);
        var bytes = new NativeBytes(info.BytesSize64, extra + working + Turning(shape, orientation), budget, cancel);
        var pixels = new DecodedPixels(bytes, shape);
        var result = codec.GetPixels(info, bytes.Start);
        if (result != SKCodecResult.Success)
        {
            problem = result == SKCodecResult.IncompleteInput ? "truncated image" : $"damaged image ({result})";
            return OrDispose(pixels, problem);
        }

        var rgba = (byte*)bytes.Start;
        for (int to = 0, from = 0; to < shape.Bytes; to += Rgb, from += Rgba)
        {
            rgba[to] = rgba[from];
            rgba[to + 1] = rgba[from + 1];
            rgba[to + 2] = rgba[from + 2];
        }

        return Turned(pixels, orientation);
    }

    private static long Turning(ImageShape shape, int orientation) => orientation == Orientation.Upright ? 0 : shape.Bytes;

    /// <summary>Checked before memory is asked for.</summary>
    private string? Unusable(int width, int height, int bytesPerPixel, int orientation = Orientation.Upright, long working = 0)
    {
        if (width <= 0 || height <= 0 || (long)width * height > ImportLimits.Pixels)
        {
            return $"unusable size {width}x{height}";
        }

        var shape = new ImageShape(height, width, Rgb);
        return ((long)width * height * bytesPerPixel) + working + Turning(shape, orientation) + extra > budget.Total
            ? $"unusable size {width}x{height}: decoding it takes more than {budget.Total >> 20} MiB"
            : null;
    }

    private static DecodedPixels? OrDispose(DecodedPixels pixels, string? problem)
    {
        if (problem is null)
        {
            return pixels;
        }

        pixels.Dispose();
        return null;
    }

    /// <summary>As it is shown; the memory of the copy was charged to the pixels.</summary>
    private static DecodedPixels? Turned(DecodedPixels? pixels, int orientation)
    {
        if (pixels is null || orientation == Orientation.Upright)
        {
            return pixels;
        }

        var shown = Orientation.Shown(pixels.Shape, orientation);
        using var copy = new NativeBytes(pixels.Shape.Bytes, 0, new ByteBudget(pixels.Shape.Bytes), CancellationToken.None);
        Orientation.Apply(pixels.Span, pixels.Shape, orientation, copy.Span);
        copy.Span.CopyTo(pixels.Span);
        return pixels.As(shown);
    }
}

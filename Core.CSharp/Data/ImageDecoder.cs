using System.Runtime.InteropServices;
using SkiaSharp;

namespace SslResearch.Core.Data;

/// <summary>Decodes one JPEG, PNG, BMP, GIF or WebP file.</summary>
internal static class ImageDecoder
{
    /// <summary>Images with more pixels are refused before memory is asked for.</summary>
    private const long MostPixels = 1L << 27;

    private static readonly HashSet<string> Extensions =
        new(StringComparer.OrdinalIgnoreCase) { ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp" };

    public static bool IsImage(string path) => Extensions.Contains(Path.GetExtension(path));

    /// <summary>
    /// (H, W, 3) RGB; grey is repeated, transparency is dropped without blending (as Pillow's conversion to "RGB").
    /// Orientation tags are not applied.
    /// </summary>
    /// <param name="file">The whole file.</param>
    /// <param name="problem">Why it cannot be decoded; null where it can.</param>
    public static unsafe (byte[] Pixels, ImageShape Shape) Decode(byte[] file, out string? problem)
    {
        problem = file.Length == 0 ? "empty file" : null;
        if (problem is not null)
        {
            return default;
        }

        fixed (byte* start = file)
        {
            using var data = SKData.Create((IntPtr)start, file.Length);
            using var codec = SKCodec.Create(data);
            if (codec is null)
            {
                problem = "not a readable image";
                return default;
            }

            var (width, height) = (codec.Info.Width, codec.Info.Height);
            if (width <= 0 || height <= 0 || (long)width * height > MostPixels)
            {
                problem = $"unusable size {width}x{height}";
                return default;
            }

            var info = new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
            var rgba = (byte*)NativeMemory.Alloc((nuint)info.BytesSize64);
            try
            {
                var result = codec.GetPixels(info, (IntPtr)rgba);
                if (result != SKCodecResult.Success)
                {
                    problem = result == SKCodecResult.IncompleteInput ? "truncated image" : $"damaged image ({result})";
                    return default;
                }

                var rgb = new byte[width * height * 3];
                for (int i = 0, from = 0; i < rgb.Length; i += 3, from += 4)
                {
                    rgb[i] = rgba[from];
                    rgb[i + 1] = rgba[from + 1];
                    rgb[i + 2] = rgba[from + 2];
                }

                return (rgb, new ImageShape(height, width, 3));
            }
            finally
            {
                NativeMemory.Free(rgba);
            }
        }
    }
}

using System.Runtime.InteropServices;
using SkiaSharp;
using SslResearch.Core.Data;

namespace SslResearch.Core.Augment;

/// <summary>Rows of small pictures under column heads, as a PNG.</summary>
internal static class Sheet
{
    private const int Target = 192;
    private const int Largest = 320;
    private const int Margin = 32;
    private const int Gap = 16;
    private const int TextScale = 2;
    private const int TitleScale = 3;
    private const int Frame = 4;
    private const int LineHeight = BitmapFont.LineHeight * TextScale;
    private const int MostBytes = 1 << 30;

    public static readonly SKColor Ink = new(0x22, 0x26, 0x2B);
    private static readonly SKColor Paper = new(0xFA, 0xFA, 0xF7);
    private static readonly SKColor Faint = new(0x6B, 0x72, 0x7C);

    /// <summary>The bytes of the PNG; equal for equal arguments.</summary>
    /// <param name="title">Line at the top.</param>
    /// <param name="heads">One for each column.</param>
    /// <param name="rows">At least one, all as long as <paramref name="heads"/>.</param>
    /// <exception cref="ArgumentException">More than a picture can hold.</exception>
    public static byte[] Png(string title, IReadOnlyList<Head> heads, IReadOnlyList<IReadOnlyList<Cell>> rows)
    {
        var sizes = rows.SelectMany(r => r).Select(c => Shown(c.Shape)).ToList();
        var (cellWidth, cellHeight) = (sizes.Max(s => s.Width), sizes.Max(s => s.Height));
        var letters = (cellWidth + TextScale) / (BitmapFont.Advance * TextScale);
        var wrapped = rows.Select(r => r.Select(c => c.Text.SelectMany(t => BitmapFont.Wrap(t, letters)).ToList()).ToList()).ToList();
        var wrappedHeads = heads.Select(h => BitmapFont.Wrap(h.Text, letters).ToList()).ToList();
        var textHeights = wrapped.Select(r => r.Max(t => t.Count) * LineHeight).ToList();
        var top = Margin + (BitmapFont.LineHeight * TitleScale) + Gap;
        var head = top + (wrappedHeads.Max(h => h.Count) * LineHeight);
        var titleWidth = BitmapFont.Width(title) * TitleScale;
        var width = (2 * Margin) + Math.Max(titleWidth, (heads.Count * (cellWidth + (2 * Frame))) + ((heads.Count - 1) * Gap));
        var height = head + textHeights.Sum(t => cellHeight + (2 * Frame) + t + (2 * Gap)) + Margin;
        if (4L * width * height > MostBytes)
        {
            throw new ArgumentException($"a sheet of {width}x{height} pixels is too large: show fewer images, views or epochs", nameof(rows));
        }

        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(Paper);
        Write(canvas, title, Margin, Margin, TitleScale, Ink);
        for (var c = 0; c < heads.Count; c++)
        {
            for (var line = 0; line < wrappedHeads[c].Count; line++)
            {
                Write(canvas, wrappedHeads[c][line], Margin + Frame + (c * (cellWidth + (2 * Frame) + Gap)), top + (line * LineHeight), TextScale, heads[c].Colour);
            }
        }

        var y = head;
        for (var r = 0; r < rows.Count; r++)
        {
            for (var c = 0; c < rows[r].Count; c++)
            {
                var x = Margin + (c * (cellWidth + (2 * Frame) + Gap));
                Draw(canvas, rows[r][c], x, y);
                for (var line = 0; line < wrapped[r][c].Count; line++)
                {
                    Write(canvas, wrapped[r][c][line], x + Frame, y + cellHeight + (2 * Frame) + 8 + (line * LineHeight), TextScale, c == 0 ? Ink : Faint);
                }
            }

            y += cellHeight + (2 * Frame) + textHeights[r] + (2 * Gap);
        }

        using var data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    /// <summary>Writes a file, whole or not at all; its folder is created where it is missing.</summary>
    public static void Save(string path, byte[] png)
    {
        var full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        var temporary = $"{full}.{Environment.ProcessId}.tmp";
        try
        {
            File.WriteAllBytes(temporary, png);
            File.Move(temporary, full, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>RGBA of a view: (C, H, W) normalised values back to 0 … 255.</summary>
    public static byte[] Denormalised(ReadOnlySpan<float> view, ImageShape shape, ChannelNormalisation normalisation)
    {
        var plane = shape.Height * shape.Width;
        var bytes = new byte[view.Length];
        for (var c = 0; c < shape.Channels; c++)
        {
            var (scale, bias) = (255 * normalisation.Std[c], 255 * normalisation.Mean[c]);
            for (var i = 0; i < plane; i++)
            {
                bytes[(i * shape.Channels) + c] = (byte)Math.Clamp(MathF.Round((view[(c * plane) + i] * scale) + bias), 0, 255);
            }
        }

        return Opaque(bytes, shape);
    }

    /// <summary>RGBA of stored pixels, (H, W, C) with one channel or three.</summary>
    public static byte[] Opaque(byte[] pixels, ImageShape shape)
    {
        var rgba = new byte[4 * shape.Height * shape.Width];
        for (var i = 0; i < shape.Height * shape.Width; i++)
        {
            for (var c = 0; c < 3; c++)
            {
                rgba[(4 * i) + c] = pixels[(i * shape.Channels) + (shape.Channels == 1 ? 0 : c)];
            }

            rgba[(4 * i) + 3] = 255;
        }

        return rgba;
    }

    /// <summary>Small images are enlarged by a whole number, very large ones reduced.</summary>
    private static (int Width, int Height) Shown(ImageShape shape)
    {
        var longest = Math.Max(shape.Height, shape.Width);
        var factor = Math.Max(1, (double)(Target / longest));
        factor = longest > Largest ? (double)Largest / longest : factor;
        return (Math.Max(1, (int)(shape.Width * factor)), Math.Max(1, (int)(shape.Height * factor)));
    }

    private static void Draw(SKCanvas canvas, Cell cell, int x, int y)
    {
        var (width, height) = Shown(cell.Shape);
        using var fill = new SKPaint { Color = cell.Mark ?? Faint, IsAntialias = false };
        canvas.DrawRect(x, y, width + (2 * Frame), height + (2 * Frame), fill);
        var handle = GCHandle.Alloc(cell.Rgba, GCHandleType.Pinned);
        try
        {
            var info = new SKImageInfo(cell.Shape.Width, cell.Shape.Height, SKColorType.Rgba8888, SKAlphaType.Opaque);
            using var image = SKImage.FromPixelCopy(info, handle.AddrOfPinnedObject(), 4 * cell.Shape.Width);
            var sampling = width >= cell.Shape.Width ? new SKSamplingOptions(SKFilterMode.Nearest) : new SKSamplingOptions(SKCubicResampler.Mitchell);
            canvas.DrawImage(image, new SKRect(x + Frame, y + Frame, x + Frame + width, y + Frame + height), sampling);
        }
        finally
        {
            handle.Free();
        }

        var scale = (float)width / cell.Shape.Width;
        foreach (var box in cell.Boxes.Where(b => b.Width > 0))
        {
            var rectangle = SKRect.Create(
                x + Frame + (box.Left * scale) + 1, y + Frame + (box.Top * scale) + 1, (box.Width * scale) - 2, (box.Height * scale) - 2);
            using var halo = new SKPaint { Color = SKColors.White.WithAlpha(200), Style = SKPaintStyle.Stroke, StrokeWidth = 4, IsAntialias = false };
            using var line = new SKPaint { Color = box.Mark, Style = SKPaintStyle.Stroke, StrokeWidth = 2, IsAntialias = false };
            canvas.DrawRect(rectangle, halo);
            canvas.DrawRect(rectangle, line);
        }
    }

    private static void Write(SKCanvas canvas, string text, int x, int y, int scale, SKColor colour)
    {
        using var paint = new SKPaint { Color = colour, IsAntialias = false };
        foreach (var (dx, dy) in BitmapFont.Dots(text))
        {
            canvas.DrawRect(x + (dx * scale), y + (dy * scale), scale, scale, paint);
        }
    }

    /// <summary>A box drawn into a picture, in the picture's own pixels; none where its width is 0.</summary>
    public readonly record struct Box(int Left, int Top, int Width, int Height, SKColor Mark);

    /// <summary>One picture: RGBA, the colour of its frame, boxes in it, lines under it.</summary>
    public sealed record Cell(ImageShape Shape, byte[] Rgba, SKColor? Mark, IReadOnlyList<Box> Boxes, IReadOnlyList<string> Text);

    /// <summary>What stands over a column.</summary>
    public readonly record struct Head(string Text, SKColor Colour);
}

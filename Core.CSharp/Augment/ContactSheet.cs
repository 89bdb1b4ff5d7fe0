using System.Globalization;
using System.Runtime.InteropServices;
using SkiaSharp;
using SslResearch.Core.Data;

namespace SslResearch.Core.Augment;

/// <summary>
/// A picture to judge an augmentation by: each row an image of the store with the boxes that its views were cut from, then the views
/// themselves, as a training run sees them, with what was drawn for each.
/// </summary>
public static class ContactSheet
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

    private static readonly SKColor Paper = new(0xFA, 0xFA, 0xF7);
    private static readonly SKColor Ink = new(0x22, 0x26, 0x2B);
    private static readonly SKColor Faint = new(0x6B, 0x72, 0x7C);

    // Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
    private static readonly SKColor[] Marks =
    [
        new(0x00, 0x72, 0xB2), new(0xD5, 0x5E, 0x00), new(0x00, 0x9E, 0x73), new(0xCC, 0x79, 0xA7), new(0xE6, 0x9F, 0x00), new(0x56, 0xB4, 0xE9),
    ];

    /// <summary>Writes the sheet as a PNG, whole or not at all.</summary>
    /// <param name="path">File; its folder is created where it is missing.</param>
    /// <param name="store">Images.</param>
    /// <param name="views">One pipeline per view, in the order of <see cref="IViewSource.Views"/>.</param>
    /// <param name="options">What to show.</param>
    public static void Write(string path, ImageStore store, IReadOnlyList<ViewPipeline> views, ContactSheetOptions options)
    {
        var png = Png(store, views, options);
        var full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        var temporary = $"{full}.{Environment.ProcessId}.tmp";
        File.WriteAllBytes(temporary, png);
        File.Move(temporary, full, overwrite: true);
    }

    /// <summary>The bytes of the PNG; equal for equal arguments.</summary>
    public static byte[] Png(ImageStore store, IReadOnlyList<ViewPipeline> views, ContactSheetOptions options)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(views);
        ArgumentNullException.ThrowIfNull(options);
        foreach (var index in options.Indices)
        {
            if (index < 0 || index >= store.Count)
            {
                throw new ArgumentException($"image {index} is not in '{store.Name}', which holds 0 to {store.Count - 1}", nameof(options));
            }
        }

        List<Row> rows = [.. options.Indices.Select(i => RowOf(store, views, options, i))];
        var sizes = views.Select(v => Shown(v.Output)).Append(Shown(store.Shape)).ToList();
        var (cellWidth, cellHeight) = (sizes.Max(s => s.Width), sizes.Max(s => s.Height));
        var letters = (cellWidth + TextScale) / (BitmapFont.Advance * TextScale);
        var wrapped = rows.Select(r => r.Cells.Select(c => c.Text.SelectMany(t => BitmapFont.Wrap(t, letters)).ToList()).ToList()).ToList();
        var textHeights = wrapped.Select(r => r.Max(t => t.Count) * LineHeight).ToList();
        var columns = 1 + (views.Count * options.Epochs.Count);
        var head = Margin + (BitmapFont.LineHeight * TitleScale) + Gap + LineHeight;
        var title = BitmapFont.Width(options.Title) * TitleScale;
        var width = (2 * Margin) + Math.Max(title, (columns * (cellWidth + (2 * Frame))) + ((columns - 1) * Gap));
        var height = head + textHeights.Sum(t => cellHeight + (2 * Frame) + t + (2 * Gap)) + Margin;
        if (4L * width * height > MostBytes)
        {
            throw new ArgumentException($"a sheet of {width}x{height} pixels is too large: show fewer images, views or epochs", nameof(options));
        }

        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        using var canvas = new SKCanvas(bitmap);
        canvas.Clear(Paper);
        Write(canvas, options.Title, Margin, Margin, TitleScale, Ink);
        Heads(canvas, views.Count, options.Epochs, head - LineHeight, cellWidth);
        var y = head;
        for (var r = 0; r < rows.Count; r++)
        {
            for (var c = 0; c < rows[r].Cells.Count; c++)
            {
                var x = Margin + (c * (cellWidth + (2 * Frame) + Gap));
                Draw(canvas, rows[r].Cells[c], x, y);
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

    private static Row RowOf(ImageStore store, IReadOnlyList<ViewPipeline> views, ContactSheetOptions options, long index)
    {
        var pixels = store.Pixels(index).ToArray();
        var label = store.Label(index);
        var name = label >= 0 && label < store.ClassNames.Count ? store.ClassNames[label] : "";
        List<Box> boxes = [];
        List<Cell> cells = [];
        foreach (var epoch in options.Epochs)
        {
            for (var v = 0; v < views.Count; v++)
            {
                var mark = Marks[boxes.Count % Marks.Length];
                var parameters = views[v].Draw(options.Seed, epoch, index, v);
                var view = new float[views[v].OutputFloats];
                views[v].Render(pixels, parameters, view);
                boxes.Add(CropOf(views[v], parameters, mark));
                cells.Add(new Cell(views[v].Output, Denormalised(view, views[v]), mark, [], [.. views[v].Describe(parameters)]));
            }
        }

        cells.Insert(0, new Cell(store.Shape, Opaque(pixels, store.Shape), null, boxes, [$"{index.ToString(CultureInfo.InvariantCulture)} {name}".TrimEnd()]));
        return new Row(cells);
    }

    /// <summary>The box of the first crop, where it is taken from the image as stored; empty otherwise.</summary>
    private static Box CropOf(ViewPipeline pipeline, in ViewParameters parameters, SKColor mark)
    {
        for (var i = 0; i < pipeline.Ops.Count; i++)
        {
            if (pipeline.Ops[i] is ResizedCrop)
            {
                return new Box(parameters[i].Left, parameters[i].Top, parameters[i].Width, parameters[i].Height, mark);
            }

            if (parameters[i].Applied && pipeline.Ops[i] is Flip or VerticalFlip or Rotate90)
            {
                break;
            }
        }

        return default;
    }

    private static byte[] Denormalised(float[] view, ViewPipeline pipeline)
    {
        var (shape, plane) = (pipeline.Output, pipeline.Output.Height * pipeline.Output.Width);
        var bytes = new byte[view.Length];
        for (var c = 0; c < shape.Channels; c++)
        {
            var (scale, bias) = (255 * pipeline.Normalisation.Std[c], 255 * pipeline.Normalisation.Mean[c]);
            for (var i = 0; i < plane; i++)
            {
                bytes[(i * shape.Channels) + c] = (byte)Math.Clamp(MathF.Round((view[(c * plane) + i] * scale) + bias), 0, 255);
            }
        }

        return Opaque(bytes, shape);
    }

    private static byte[] Opaque(byte[] pixels, ImageShape shape)
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

    private static void Heads(SKCanvas canvas, int views, IReadOnlyList<int> epochs, int y, int cellWidth)
    {
        Write(canvas, "original", Margin + Frame, y, TextScale, Ink);
        for (var i = 0; i < views * epochs.Count; i++)
        {
            var text = string.Create(CultureInfo.InvariantCulture, $"epoch {epochs[i / views]} view {(i % views) + 1}");
            Write(canvas, text, Margin + Frame + ((i + 1) * (cellWidth + (2 * Frame) + Gap)), y, TextScale, Marks[i % Marks.Length]);
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

    private readonly record struct Box(int Left, int Top, int Width, int Height, SKColor Mark);

    private sealed record Cell(ImageShape Shape, byte[] Rgba, SKColor? Mark, IReadOnlyList<Box> Boxes, IReadOnlyList<string> Text);

    private sealed record Row(IReadOnlyList<Cell> Cells);
}

using System.Globalization;
using SkiaSharp;
using SslResearch.Core.Data;

namespace SslResearch.Core.Augment;

/// <summary>
/// A picture to judge an augmentation by: each row an image of the store with the boxes that its views were cut from, then the views
/// themselves, as a training run sees them, with what was drawn for each.
/// </summary>
public static class ContactSheet
{
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
    public static void Write(string path, ImageStore store, IReadOnlyList<ViewPipeline> views, ContactSheetOptions options) =>
        Sheet.Save(path, Png(store, views, options));

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

        return Sheet.Png(options.Title, [.. Heads(views.Count, options.Epochs)], [.. options.Indices.Select(i => RowOf(store, views, options, i))]);
    }

    private static List<Sheet.Cell> RowOf(ImageStore store, IReadOnlyList<ViewPipeline> views, ContactSheetOptions options, long index)
    {
        var pixels = store.Pixels(index).ToArray();
        var label = store.Label(index);
        var name = label >= 0 && label < store.ClassNames.Count ? store.ClassNames[label] : "";
        List<Sheet.Box> boxes = [];
        List<Sheet.Cell> cells = [];
        foreach (var epoch in options.Epochs)
        {
            for (var v = 0; v < views.Count; v++)
            {
                var mark = Marks[boxes.Count % Marks.Length];
                var parameters = views[v].Draw(options.Seed, epoch, index, v);
                var view = new float[views[v].OutputFloats];
                views[v].Render(pixels, parameters, view);
                boxes.Add(CropOf(views[v], parameters, mark));
                cells.Add(new Sheet.Cell(views[v].Output, Sheet.Denormalised(view, views[v].Output, views[v].Normalisation), mark, [], [.. views[v].Describe(parameters)]));
            }
        }

        cells.Insert(0, new Sheet.Cell(store.Shape, Sheet.Opaque(pixels, store.Shape), null, boxes, [$"{index.ToString(CultureInfo.InvariantCulture)} {name}".TrimEnd()]));
        return cells;
    }

    /// <summary>The box of the first crop, where it is taken from the image as stored; empty otherwise.</summary>
    private static Sheet.Box CropOf(ViewPipeline pipeline, in ViewParameters parameters, SKColor mark)
    {
        for (var i = 0; i < pipeline.Ops.Count; i++)
        {
            if (pipeline.Ops[i] is ResizedCrop)
            {
                return new Sheet.Box(parameters[i].Left, parameters[i].Top, parameters[i].Width, parameters[i].Height, mark);
            }

            if (parameters[i].Applied && pipeline.Ops[i] is Flip or VerticalFlip or Rotate90)
            {
                break;
            }
        }

        return default;
    }

    private static IEnumerable<Sheet.Head> Heads(int views, IReadOnlyList<int> epochs)
    {
        yield return new Sheet.Head("original", Sheet.Ink);
        for (var i = 0; i < views * epochs.Count; i++)
        {
            var text = string.Create(CultureInfo.InvariantCulture, $"epoch {epochs[i / views]} view {(i % views) + 1}");
            yield return new Sheet.Head(text, Marks[i % Marks.Length]);
        }
    }
}

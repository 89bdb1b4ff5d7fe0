namespace SslResearch.Core.Data;

/// <summary>The procedural dataset: needs no download, any size and count, reproducible from its options alone.</summary>
public static class ShapesDataset
{
    /// <summary>Name of the dataset.</summary>
    public const string DatasetName = "shapes";

    /// <summary>Number of classes.</summary>
    public const int ClassCount = 10;

    private const int BlockImages = 2048;

    /// <summary>Names by label.</summary>
    public static IReadOnlyList<string> ClassNames { get; } = [.. Enum.GetValues<ShapeKind>().Select(Name)];

    /// <summary>Names of the colours of shapes.</summary>
    public static IReadOnlyList<string> ColourNames => ShapesSampler.ColourNames;

    /// <summary>Opens the images, rendering them into a pack under the data root first if that was not done before.</summary>
    /// <exception cref="DataException">The options ask for nothing that can be drawn.</exception>
    public static ImageStore Open(ShapesOptions options, string dataRoot)
    {
        Check(options);
        var path = PackPath(options, dataRoot);
        return ImageStore.OpenOrMake(path, () => Write(options, path));
    }

    /// <summary>The images without a file.</summary>
    public static ImageStore Render(ShapesOptions options)
    {
        Check(options);
        var pixels = new byte[checked(options.Count * options.Size * options.Size * 3)];
        var labels = new int[options.Count];
        RenderBlock(options, 0, pixels, labels, options.Count);
        return ImageStore.FromMemory(DatasetName, Shape(options), pixels, labels, ClassNames, options.Split);
    }

    /// <summary>Where the pack of these options lies.</summary>
    public static string PackPath(ShapesOptions options, string dataRoot) => Path.Combine(
        dataRoot,
        DatasetName,
        $"{Safe(options.Split)}-{options.Count}x{options.Size}px-seed{options.Seed}{Suffix(options.Statistics)}-v{ShapesRenderer.Version}.sslpack");

    /// <summary>What an image shows: label, pose, colour, texture, background, caption.</summary>
    public static ShapeScene Scene(ShapesOptions options, long index)
    {
        Check(options);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, options.Count);
        return ShapesRenderer.Scene(options.Seed, options.Split, index, options.Statistics);
    }

    /// <summary>Foreground mask of an image: (Size, Size) uint8, 255 inside, 0 outside, between them at the edge.</summary>
    public static byte[] Mask(ShapesOptions options, long index)
    {
        var mask = new byte[options.Size * options.Size];
        ShapesRenderer.Mask(Scene(options, index), options.Size, mask);
        return mask;
    }

    /// <summary>A sentence that describes an image.</summary>
    public static string Caption(ShapesOptions options, long index) => Scene(options, index).Caption;

    internal static string Name<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();

    /// <summary>A split's name as part of a file's name.</summary>
    internal static string Safe(string split) =>
        string.Concat(split.Select(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' ? c.ToString() : $"%{(int)c:x}"));

    internal static string Suffix(ShapesStatistics statistics) => statistics == ShapesStatistics.Independent ? string.Empty : "-" + Name(statistics);

    private static void Check(ShapesOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Count < 1 || options.Size is < 8 or > 1024 || string.IsNullOrWhiteSpace(options.Split) || !Enum.IsDefined(options.Statistics))
        {
            throw new DataException(
                $"Shapes needs a count of at least 1, a size of 8 to 1024 pixels and the name of a split; received {options}.");
        }
    }

    private static ImageShape Shape(ShapesOptions options) => new(options.Size, options.Size, 3);

    private static void Write(ShapesOptions options, string path)
    {
        using var writer = new PackWriter(path, DatasetName, options.Split, Shape(options), ClassNames);
        var bytes = Shape(options).Bytes;
        var block = Math.Min(options.Count, Math.Max(16, Math.Min(BlockImages, (64 << 20) / bytes)));
        var pixels = new byte[block * bytes];
        var labels = new int[block];
        for (var start = 0; start < options.Count; start += block)
        {
            var count = Math.Min(block, options.Count - start);
            RenderBlock(options, start, pixels, labels, count);
            writer.AddBlock(pixels.AsSpan(0, count * bytes), labels.AsSpan(0, count));
        }

        writer.Complete();
    }

    private static void RenderBlock(ShapesOptions options, int start, byte[] pixels, int[] labels, int count)
    {
        var bytes = Shape(options).Bytes;
        Parallel.For(0, count, i =>
        {
            var scene = ShapesRenderer.Scene(options.Seed, options.Split, start + i, options.Statistics);
            labels[i] = scene.Label;
            ShapesRenderer.Render(scene, options.Size, pixels.AsSpan(i * bytes, bytes));
        });
    }
}

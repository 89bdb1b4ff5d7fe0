namespace SslResearch.Core.Data;

/// <summary>
/// The procedural clips: the shapes of <see cref="ShapesDataset"/> in motion (<see cref="ShapeMotion"/>), each clip one film strip
/// (<see cref="FrameStrip"/>), labelled with its shape's class. Reproducible from their options alone.
/// </summary>
public static class ShapesClips
{
    /// <summary>Name of the dataset.</summary>
    public const string DatasetName = "shapes-in-motion";

    /// <summary>Changes whenever the same clip would look different; part of the name of cached packs.</summary>
    public const int Version = 1;

    private const int BlockBytes = 64 << 20;

    /// <summary>Opens the clips, rendering them into a pack under the data root first if that was not done before.</summary>
    /// <exception cref="DataException">The options ask for nothing that can be drawn.</exception>
    public static ImageStore Open(ShapesClipsOptions options, string dataRoot)
    {
        Check(options);
        var path = PackPath(options, dataRoot);
        return ImageStore.OpenOrMake(path, () => Write(options, path));
    }

    /// <summary>The clips without a file.</summary>
    public static ImageStore Render(ShapesClipsOptions options)
    {
        Check(options);
        var pixels = new byte[checked(options.Count * Shape(options).Bytes)];
        var labels = new int[options.Count];
        RenderBlock(options, 0, pixels, labels, options.Count);
        return ImageStore.FromMemory(DatasetName, Shape(options), pixels, labels, ShapesDataset.ClassNames, options.Split);
    }

    /// <summary>Where the pack of these options lies.</summary>
    public static string PackPath(ShapesClipsOptions options, string dataRoot) => Path.Combine(
        dataRoot,
        DatasetName,
        $"{ShapesDataset.Safe(options.Split)}-{options.Count}x{options.Frames}x{options.Size}px-seed{options.Seed}{ShapesDataset.Suffix(options.Statistics)}-v{ShapesRenderer.Version}.{Version}.sslpack");

    /// <summary>What a clip shows.</summary>
    public static ShapeMotion Motion(ShapesClipsOptions options, long index)
    {
        Check(options);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, options.Count);
        return ShapeMotion.Draw(options.Seed, options.Split, index, options.Statistics);
    }

    private static ImageShape Shape(ShapesClipsOptions options) => FrameStrip.Of(options.Frames, options.Size, 3);

    private static void Check(ShapesClipsOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Count < 1 || options.Size is < 8 or > 1024 || options.Frames < FrameStrip.Fewest
            || (long)options.Frames * options.Size > FrameStrip.Highest || string.IsNullOrWhiteSpace(options.Split))
        {
            throw new DataException(
                $"Shapes in motion need a count of at least 1, a size of 8 to 1024 pixels, at least {FrameStrip.Fewest} frames (all of a clip at most {FrameStrip.Highest} pixels high) and the name of a split; received {options}.");
        }
    }

    private static void Write(ShapesClipsOptions options, string path)
    {
        using var writer = new PackWriter(path, DatasetName, options.Split, Shape(options), ShapesDataset.ClassNames);
        var bytes = Shape(options).Bytes;
        var block = Math.Min(options.Count, Math.Max(4, BlockBytes / bytes));
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

    private static void RenderBlock(ShapesClipsOptions options, int start, byte[] pixels, int[] labels, int count)
    {
        var bytes = options.Size * options.Size * 3;
        Parallel.For(0, count, i =>
        {
            var motion = ShapeMotion.Draw(options.Seed, options.Split, start + i, options.Statistics);
            labels[i] = motion.Label;
            for (var t = 0; t < options.Frames; t++)
            {
                motion.Render(t, options.Size, pixels.AsSpan(((i * options.Frames) + t) * bytes, bytes));
            }
        });
    }
}

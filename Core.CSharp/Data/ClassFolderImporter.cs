namespace SslResearch.Core.Data;

/// <summary>
/// <c>split/class/image</c>, or <c>class/image</c> with a stated split; folders around and inside that are allowed.
/// Classes are in ordinal order of their names, images in ordinal order of their paths, whatever the order of the source.
/// </summary>
internal static class ClassFolderImporter
{
    private const int Named = 5;

    /// <summary>Names that a folder of a split may have, in lower case.</summary>
    internal static readonly string[] SplitNames = ["train", "test", "val", "valid", "validation"];

    public static ImportOutcome Import(
        string source, ImportTarget target, ImportOptions options, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        using var spool = new SpoolFile(target.Folder);
        var (images, folders, corrupt) = SourceDecoder.Decode(source, spool, options, static _ => true, progress, cancel);
        if (corrupt.Length > 0 && !options.SkipCorrupt)
        {
            throw SourceDecoder.Refusal(
                corrupt, images.Length + corrupt.Length, "images", source, "Replace them, or leave them out with --skip-corrupt.");
        }

        if (images.Length == 0)
        {
            throw new DataException($"'{source}' has no images that can be decoded. Check the source.");
        }

        // Corrupt images count for the layout: a class does not move because its images are damaged.
        var layout = Layout.Find([.. images.Select(static i => i.Path)], options.Split, source);
        var classNames = Classes(images, folders, layout, source);
        return Write(target, spool, images, layout, classNames, corrupt, progress, cancel);
    }

    private static string[] Classes(DecodedImage[] images, string[] folders, Layout layout, string source)
    {
        var filled = images.Select(i => layout.Of(i.Path)).Distinct().ToHashSet();
        var empty = folders.Select(layout.OfFolder)
            .Where(f => f is not null && !filled.Contains(f.Value))
            .Select(static f => $"{f!.Value.Split}/{f.Value.Class}")
            .Order(StringComparer.Ordinal)
            .FirstOrDefault();
        if (empty is not null)
        {
            throw new DataException($"Class '{empty}' in '{source}' has no images. Add images or remove its folder.");
        }

        var bySplit = filled.GroupBy(static f => f.Split, static f => f.Class)
            .OrderBy(static g => g.Key, StringComparer.Ordinal)
            .Select(static g => (Split: g.Key, Classes: g.Order(StringComparer.Ordinal).ToArray()))
            .ToArray();
        var all = bySplit.SelectMany(static s => s.Classes).Distinct().Order(StringComparer.Ordinal).ToArray();
        foreach (var (split, classes) in bySplit)
        {
            var missing = all.Except(classes).ToArray();
            if (missing.Length > 0)
            {
                throw new DataException(
                    $"The splits of '{source}' have different classes: '{split}' lacks '{string.Join("', '", missing.Take(Named))}'. Every split needs every class.");
            }
        }

        return all;
    }

    private static ImportOutcome Write(
        ImportTarget target,
        SpoolFile spool,
        DecodedImage[] images,
        Layout layout,
        string[] classNames,
        CorruptImage[] corrupt,
        IProgress<ImportReport>? progress,
        CancellationToken cancel)
    {
        var labels = classNames.Select(static (name, label) => (name, label)).ToDictionary(static p => p.name, static p => p.label);
        var packs = new List<(string Split, PackWriter Writer)>();
        var pixels = new byte[spool.Shape.Bytes];
        var written = 0;
        try
        {
            foreach (var split in images.GroupBy(i => layout.Of(i.Path).Split).OrderBy(static g => g.Key, StringComparer.Ordinal))
            {
                var writer = target.Writer(split.Key, spool.Shape, classNames);
                packs.Add((split.Key, writer));
                foreach (var image in split.OrderBy(static i => i.Path, StringComparer.Ordinal))
                {
                    cancel.ThrowIfCancellationRequested();
                    spool.Read(image.Slot, pixels);
                    writer.Add(pixels, labels[layout.Of(image.Path).Class]);
                    if (++written % 10000 == 0)
                    {
                        progress?.Report(new ImportReport("writing", written, images.Length));
                    }
                }
            }

            return new ImportOutcome(target.Name, target.Publish(packs, spool.Shape, classNames), [.. corrupt.Select(static c => c.ToString())]);
        }
        finally
        {
            packs.ForEach(static p => p.Writer.Dispose());
        }
    }

    /// <summary>Which part of a path is the split, which the class.</summary>
    private sealed record Layout(int Depth, string? Stated)
    {
        public static Layout Find(string[] paths, string? stated, string source)
        {
            var parts = paths.Select(static p => p.Split('/')[..^1]).ToArray();
            var common = 0;
            while (parts.All(p => p.Length > common && p[common] == parts[0][common]))
            {
                common++;
            }

            // The first level at which every image lies in a folder named like a split.
            for (var depth = 0; depth <= common; depth++)
            {
                if (parts.All(p => p.Length > depth && SplitNames.Contains(p[depth].ToLowerInvariant())))
                {
                    if (stated is not null && parts.Select(p => p[depth]).Distinct().Count() > 1)
                    {
                        throw new DataException($"'{source}' has its own splits. Leave the stated split '{stated}' out.");
                    }

                    var stray = Array.FindIndex(parts, p => p.Length == depth + 1);
                    return stray >= 0
                        ? throw new DataException($"Image '{paths[stray]}' in '{source}' lies in no class folder. Expected split/class/image.")
                        : new Layout(depth, stated);
                }
            }

            if (stated is null)
            {
                throw new DataException(
                    $"'{source}' has no train/ and test/ folders of classes. Arrange it as train/CLASS/image and test/CLASS/image, or state which split it is (--split NAME).");
            }

            var loose = Array.FindIndex(parts, static p => p.Length == 0);
            if (loose >= 0)
            {
                throw new DataException($"Image '{paths[loose]}' in '{source}' lies in no class folder. Expected class/image.");
            }

            // With one class alone its folder is common to all, too.
            return new Layout((parts.Any(p => p.Length == common) ? common - 1 : common) - 1, stated);
        }

        public (string Split, string Class) Of(string path)
        {
            var parts = path.Split('/');
            return (Stated ?? parts[Depth].ToLowerInvariant(), parts[Depth + 1]);
        }

        /// <summary>Split and class of a class folder; null for other folders.</summary>
        public (string Split, string Class)? OfFolder(string path)
        {
            var parts = path.Split('/');
            return parts.Length != Depth + 2 || (Stated is null && !SplitNames.Contains(parts[Depth].ToLowerInvariant())) ? null : Of(path);
        }
    }
}

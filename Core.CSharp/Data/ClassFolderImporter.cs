namespace SslResearch.Core.Data;

/// <summary>
/// <c>split/class/image</c>, or <c>class/image</c> with a stated split; folders around and inside that are allowed. Images without class folders,
/// <c>split/image</c> or all in one folder, have no labels. Classes are in ordinal order of their names, images in ordinal order of their paths,
/// whatever the order of the source.
/// </summary>
internal static class ClassFolderImporter
{
    private const int Named = 5;

    /// <summary>Names that a folder of a split may have, in lower case.</summary>
    internal static readonly string[] SplitNames = ["train", "test", .. DatasetCatalogue.TestStandIns];

    public static ImportOutcome Import(
        string source, ImportTarget target, ImportOptions options, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        using var spool = new SpoolFile(target.Folder);
        var found = SourceDecoder.Decode(source, spool, options, static _ => true, progress, cancel);
        var (images, corrupt) = (found.Images, found.Corrupt);
        if (corrupt.Length > 0 && !options.SkipCorrupt)
        {
            throw SourceDecoder.Refusal(
                corrupt, images.Length + corrupt.Length, "images", source, "Replace them, or leave them out with --skip-corrupt.");
        }

        if (images.Length == 0)
        {
            throw new DataException($"'{source}' has no images that can be decoded. Check the source.{found.LeftOut}");
        }

        // Corrupt images count for the layout: a class does not move because its images are damaged.
        var layout = Layout.Find([.. images.Select(static i => i.Path), .. corrupt.Select(static c => c.Path)], options.Split, source);
        var splits = images.Select(i => layout.Of(i.Path).Split).ToHashSet();
        if (found.Folders.Select(layout.OfSplitFolder).Where(s => s is not null && !splits.Contains(s)).Min(StringComparer.Ordinal) is { } bare)
        {
            throw new DataException($"Split '{bare}' in '{source}' has no images. Add images or remove its folder.{found.LeftOut}");
        }

        var classNames = layout.HasClasses ? Classes(found, layout, source) : [];
        return Write(target, spool, found, layout, classNames, progress, cancel);
    }

    private static string[] Classes(DecodedSource found, Layout layout, string source)
    {
        var filled = found.Images.Select(i => layout.Of(i.Path)).ToHashSet();
        var empty = found.Folders.Select(layout.OfFolder)
            .Where(f => f is not null && !filled.Contains(f.Value))
            .Select(static f => $"{f!.Value.Split}/{f.Value.Class}")
            .Order(StringComparer.Ordinal)
            .FirstOrDefault();
        if (empty is not null)
        {
            throw new DataException($"Class '{empty}' in '{source}' has no images. Add images or remove its folder.{found.LeftOut}");
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
        DecodedSource found,
        Layout layout,
        string[] classNames,
        IProgress<ImportReport>? progress,
        CancellationToken cancel)
    {
        var labels = classNames.Select(static (name, label) => (name, label)).ToDictionary(static p => p.name, static p => p.label);
        var packs = new List<(string Split, PackWriter Writer)>();
        var pixels = new byte[spool.Shape.Bytes];
        var written = 0;
        try
        {
            foreach (var split in found.Images.GroupBy(i => layout.Of(i.Path).Split).OrderBy(static g => g.Key, StringComparer.Ordinal))
            {
                var writer = target.Writer(split.Key, spool.Shape, classNames);
                packs.Add((split.Key, writer));
                foreach (var image in split.OrderBy(static i => i.Path, StringComparer.Ordinal))
                {
                    cancel.ThrowIfCancellationRequested();
                    spool.Read(image.Slot, pixels);
                    writer.Add(pixels, layout.HasClasses ? labels[layout.Of(image.Path).Class] : -1);
                    if (++written % 10000 == 0)
                    {
                        progress?.Report(new ImportReport("writing", written, found.Images.Length));
                    }
                }
            }

            return new ImportOutcome(
                target.Name,
                target.Publish(packs, spool.Shape, classNames),
                [.. found.Corrupt.Select(static c => c.ToString())],
                found.LeftOut.All);
        }
        finally
        {
            packs.ForEach(static p => p.Writer.Dispose());
        }
    }

    /// <summary>Which part of a path is the split, which the class.</summary>
    /// <param name="Depth">Of the split's folder; one less than that of the class.</param>
    /// <param name="Stated">The split where no folder tells it.</param>
    /// <param name="HasClasses">Whether there are folders of classes.</param>
    private sealed record Layout(int Depth, string? Stated, bool HasClasses)
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
                        throw new DataException($"'{source}' has its own splits. Leave --split {stated} out.");
                    }

                    var stray = Array.FindIndex(parts, p => p.Length == depth + 1);
                    return stray < 0 ? new Layout(depth, stated, true)
                        : parts.All(p => p.Length == depth + 1) ? new Layout(depth, stated, false)
                        : throw new DataException($"Image '{paths[stray]}' in '{source}' lies in no class folder. Expected split/class/image.");
                }
            }

            // With one class alone its folder is common to all, too: only a stated split tells it from a folder around the images.
            var isFlat = parts.All(p => p.Length == common);
            if (isFlat && (stated is null || common == 0))
            {
                return new Layout(-1, stated ?? "train", false);
            }

            if (stated is null)
            {
                throw new DataException(
                    $"'{source}' has no train/ and test/ (or val/) folders of classes. Arrange it as train/CLASS/image and test/CLASS/image, or state which split it is: --split train.");
            }

            var loose = Array.FindIndex(parts, static p => p.Length == 0);
            if (loose >= 0)
            {
                throw new DataException($"Image '{paths[loose]}' in '{source}' lies in no class folder. Expected class/image.");
            }

            return new Layout((parts.Any(p => p.Length == common) ? common - 1 : common) - 1, stated, true);
        }

        public (string Split, string Class) Of(string path)
        {
            var parts = path.Split('/');
            return (Stated ?? parts[Depth].ToLowerInvariant(), HasClasses ? parts[Depth + 1] : string.Empty);
        }

        /// <summary>Split of a split's folder; null for other folders.</summary>
        public string? OfSplitFolder(string path)
        {
            var parts = path.Split('/');
            var name = parts[^1].ToLowerInvariant();
            return Stated is null && parts.Length == Depth + 1 && SplitNames.Contains(name) ? name : null;
        }

        /// <summary>Split and class of a class folder; null for other folders.</summary>
        public (string Split, string Class)? OfFolder(string path)
        {
            var parts = path.Split('/');
            return parts.Length != Depth + 2 || (Stated is null && !SplitNames.Contains(parts[Depth].ToLowerInvariant())) ? null : Of(path);
        }
    }
}

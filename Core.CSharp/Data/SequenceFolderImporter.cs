namespace SslResearch.Core.Data;

/// <summary>
/// <c>split/sequence/frame</c>, or <c>sequence/frame</c> with a stated split; folders around and inside that are allowed: every folder that holds
/// frames is one sequence. Sequences and their frames are in ordinal order of their paths, so numbers in file names need leading zeros. Each clip
/// becomes one <see cref="FrameStrip"/> without a label.
/// </summary>
internal static class SequenceFolderImporter
{
    private const int Named = 5;

    private sealed record PlannedClip(string Split, string[] Frames);

    public static ImportOutcome Import(
        string source, ImportTarget target, ImportOptions options, ClipCut cut, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        if (cut.Frames < FrameStrip.Fewest || cut.Stride < 1)
        {
            throw new DataException($"A clip needs at least {FrameStrip.Fewest} frames and a stride of at least 1; received {cut.Frames} and {cut.Stride}.");
        }

        var clips = Plan(source, options.Split, cut, cancel);
        var wanted = clips.SelectMany(static c => c.Frames).ToHashSet(StringComparer.Ordinal);
        using var spool = new SpoolFile(target.Folder);
        var found = SourceDecoder.Decode(source, spool, options, wanted.Contains, progress, cancel);
        var (images, corrupt) = (found.Images, found.Corrupt);
        if (corrupt.Length > 0 && !options.SkipCorrupt)
        {
            throw SourceDecoder.Refusal(
                corrupt, images.Length + corrupt.Length, "frames", source, "Replace them, or leave out their clips with --skip-corrupt.");
        }

        var slots = images.ToDictionary(static i => i.Path, static i => i.Slot, StringComparer.Ordinal);
        var whole = clips.Where(c => c.Frames.All(slots.ContainsKey)).ToArray();
        if (whole.Length == 0)
        {
            throw new DataException($"'{source}' has no clip of {cut.Frames} frames that can be decoded. Check the source.{found.LeftOut}");
        }

        var lost = clips.Select(static c => Folder(c.Frames[0])).Except(whole.Select(static c => Folder(c.Frames[0]))).ToArray();
        if (lost.Length > 0)
        {
            throw new DataException(
                $"Of {lost.Length} sequences in '{source}', '{lost[0]}' the first, no clip of {cut.Frames} frames can be decoded. Replace their frames or remove their folders.");
        }

        var frame = spool.Shape;
        if (frame.Height != frame.Width || (long)frame.Height * cut.Frames > FrameStrip.Highest)
        {
            throw new DataException(
                $"Frames of '{source}' are {frame}, but clips are made of square frames, all of a clip at most {FrameStrip.Highest} pixels high. Give --resize N: the shorter side to N, then the middle square.");
        }

        return Write(target, spool, whole, slots, FrameStrip.Of(cut.Frames, frame.Width, frame.Channels), found, progress, cancel);
    }

    private static PlannedClip[] Plan(string source, string? stated, ClipCut cut, CancellationToken cancel)
    {
        var (paths, folders) = (new List<string>(), new List<string>());
        var leftOut = new LeftOutCount();
        foreach (var entry in EntrySource.Entries(source))
        {
            cancel.ThrowIfCancellationRequested();
            if (!leftOut.Takes(entry, ImageDecoder.IsImage, LeftOutReason.Extension))
            {
                (entry.IsFolder ? folders : paths).Add(entry.Path.TrimEnd('/'));
            }
        }

        if (paths.Count == 0)
        {
            throw new DataException($"'{source}' holds no frames (.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff). Arrange it as SEQUENCE/FRAME, or train/SEQUENCE/FRAME and test/SEQUENCE/FRAME.{leftOut}");
        }

        var splitOf = SplitOf(paths, stated, source);
        CheckSplits(paths, folders, source, leftOut);
        var sequences = paths.GroupBy(Folder, StringComparer.Ordinal)
            .OrderBy(static g => g.Key, StringComparer.Ordinal)
            .Select(g => (Name: g.Key, Frames: g.Order(StringComparer.Ordinal).Where((_, i) => i % cut.Stride == 0).ToArray(), Total: g.Count()))
            .ToArray();
        var tooShort = sequences.Where(s => s.Frames.Length < cut.Frames).ToArray();
        if (tooShort.Length > 0)
        {
            var more = tooShort.Length > Named ? $" and {tooShort.Length - Named} more" : string.Empty;
            var needed = ((cut.Frames - 1) * (long)cut.Stride) + 1;
            throw new DataException(
                $"{tooShort.Length} of {sequences.Length} sequences in '{source}' are too short for clips of {cut.Frames} frames at stride {cut.Stride}, which need {needed}: "
                + $"{string.Join("; ", tooShort.Take(Named).Select(static s => $"'{s.Name}' has {s.Total}"))}{more}. Give fewer frames (--frames) or a smaller --frame-stride, or remove these folders.");
        }

        return [.. sequences.SelectMany(s => s.Frames.Chunk(cut.Frames).Where(c => c.Length == cut.Frames).Select(c => new PlannedClip(splitOf(c[0]), c)))];
    }

    private static string Folder(string path) => path.LastIndexOf('/') is var end and >= 0 ? path[..end] : string.Empty;

    /// <summary>Refuses a folder beside those of the splits that is named like one and holds no frames.</summary>
    private static void CheckSplits(List<string> paths, List<string> folders, string source, LeftOutCount leftOut)
    {
        var filled = paths.SelectMany(static p => Enumerable.Range(0, p.Length).Where(i => p[i] == '/').Select(i => p[..i])).ToHashSet(StringComparer.Ordinal);
        var besides = filled.Where(IsSplit).Select(Folder).ToHashSet(StringComparer.Ordinal);
        if (folders.Where(f => IsSplit(f) && !filled.Contains(f) && besides.Contains(Folder(f))).Min(StringComparer.Ordinal) is { } bare)
        {
            throw new DataException($"Split '{bare}' in '{source}' has no frames. Add frames or remove its folder.{leftOut}");
        }

        static bool IsSplit(string folder) => ClassFolderImporter.SplitNames.Contains(folder[(folder.LastIndexOf('/') + 1)..].ToLowerInvariant());
    }

    /// <summary>From a frame's path to its split: the first level at which every frame lies in a folder named like one, or the stated split.</summary>
    private static Func<string, string> SplitOf(List<string> paths, string? stated, string source)
    {
        var parts = paths.Select(static p => p.Split('/')[..^1]).ToArray();
        for (var depth = 0; parts.All(p => p.Length > depth); depth++)
        {
            var level = depth;
            if (parts.All(p => ClassFolderImporter.SplitNames.Contains(p[level].ToLowerInvariant())))
            {
                if (stated is not null && parts.Select(p => p[level]).Distinct(StringComparer.OrdinalIgnoreCase).Count() > 1)
                {
                    throw new DataException($"'{source}' has its own splits. Leave --split {stated} out.");
                }

                var stray = Array.FindIndex(parts, p => p.Length == level + 1);
                if (stray >= 0)
                {
                    throw new DataException($"Frame '{paths[stray]}' in '{source}' lies in no sequence's folder. Expected split/sequence/frame.");
                }

                return path => stated ?? path.Split('/')[level].ToLowerInvariant();
            }

            if (parts.Any(p => p[level] != parts[0][level]))
            {
                break;
            }
        }

        if (stated is null)
        {
            throw new DataException(
                $"'{source}' has no train/ and test/ (or val/) folders of sequences. Arrange it as train/SEQUENCE/FRAME and test/SEQUENCE/FRAME, or state which split it is: --split train.");
        }

        var loose = Array.FindIndex(parts, static p => p.Length == 0);
        if (loose >= 0)
        {
            throw new DataException($"Frame '{paths[loose]}' in '{source}' lies in no sequence's folder. Expected sequence/frame.");
        }

        return _ => stated;
    }

    private static ImportOutcome Write(
        ImportTarget target,
        SpoolFile spool,
        PlannedClip[] clips,
        Dictionary<string, int> slots,
        ImageShape strip,
        DecodedSource found,
        IProgress<ImportReport>? progress,
        CancellationToken cancel)
    {
        var packs = new List<(string Split, PackWriter Writer)>();
        var pixels = new byte[strip.Bytes];
        var frame = FrameStrip.Frame(strip).Bytes;
        var written = 0;
        try
        {
            foreach (var split in clips.GroupBy(static c => c.Split).OrderBy(static g => g.Key, StringComparer.Ordinal))
            {
                var writer = target.Writer(split.Key, strip, []);
                packs.Add((split.Key, writer));
                foreach (var clip in split)
                {
                    cancel.ThrowIfCancellationRequested();
                    for (var t = 0; t < clip.Frames.Length; t++)
                    {
                        spool.Read(slots[clip.Frames[t]], pixels.AsSpan(t * frame, frame));
                    }

                    writer.Add(pixels, -1);
                    if (++written % 10000 == 0)
                    {
                        progress?.Report(new ImportReport("writing", written, clips.Length));
                    }
                }
            }

            return new ImportOutcome(
                target.Name, target.Publish(packs, strip, []), [.. found.Corrupt.Select(static c => c.ToString())], found.LeftOut.All);
        }
        finally
        {
            packs.ForEach(static p => p.Writer.Dispose());
        }
    }
}

namespace SslResearch.Core.Data;

/// <summary>Where an import puts its packs.</summary>
internal sealed record ImportTarget(string Name, string Folder)
{
    public PackWriter Writer(string split, ImageShape shape, IReadOnlyList<string> classNames)
    {
        return new PackWriter(PathOf(split), Name, split, shape, classNames);
    }

    /// <summary>Seals every pack, then lets them appear under their final names.</summary>
    public IReadOnlyList<ImportedSplit> Publish(
        IReadOnlyList<(string Split, PackWriter Writer)> packs, ImageShape shape, IReadOnlyList<string> classNames)
    {
        KnownForm.Check(Name, shape, classNames);
        CheckNeighbours([.. packs.Select(static p => p.Split)], shape, classNames);
        foreach (var (_, writer) in packs)
        {
            writer.Seal();
        }

        foreach (var (_, writer) in packs)
        {
            writer.Move();
        }

        return [.. packs.Select(p => new ImportedSplit(p.Split, PathOf(p.Split), p.Writer.Count, shape, p.Writer.Fingerprint!))];
    }

    private string PathOf(string split) => Path.Combine(Folder, split + DatasetCatalogue.Extension);

    /// <summary>Splits that were imported earlier and stay must belong to the same dataset.</summary>
    private void CheckNeighbours(IReadOnlyList<string> replaced, ImageShape shape, IReadOnlyList<string> classNames)
    {
        foreach (var path in Directory.EnumerateFiles(Folder, "*" + DatasetCatalogue.Extension))
        {
            if (replaced.Contains(Path.GetFileNameWithoutExtension(path)))
            {
                continue;
            }

            using var other = ImageStore.Open(path);
            if (other.Shape != shape || !other.ClassNames.SequenceEqual(classNames))
            {
                throw new DataException(
                    $"'{path}' holds images of {other.Shape} in {other.ClassNames.Count} classes, this import {shape} in {classNames.Count}, "
                    + "or the classes' names differ. Delete the older split, or import under another name.");
            }
        }
    }
}

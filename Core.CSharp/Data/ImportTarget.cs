namespace SslResearch.Core.Data;

/// <summary>
/// Where an import puts its packs: into the dataset's folder or, where it replaces a whole dataset, into a folder of its own beside it that takes
/// its place at the end.
/// </summary>
internal sealed class ImportTarget : IDisposable
{
    private readonly string dataset;
    private readonly bool existed;

    /// <summary>Makes the folder.</summary>
    /// <param name="dataRoot">See <see cref="DataRoot"/>.</param>
    /// <param name="name">Of the dataset.</param>
    /// <param name="isWhole">Whether the import replaces the whole dataset, not only the splits that it has.</param>
    public ImportTarget(string dataRoot, string name, bool isWhole)
    {
        Name = name;
        dataset = Path.Combine(dataRoot, name);
        existed = Directory.Exists(dataset);
        Folder = isWhole && existed ? Path.Combine(dataRoot, $".{name}.{Guid.NewGuid():N}{Leftovers.Extension}") : dataset;
        Directory.CreateDirectory(Folder);
        Leftovers.RemoveFolders(dataRoot);
    }

    /// <summary>Name of the dataset.</summary>
    public string Name { get; }

    /// <summary>For temporary files.</summary>
    public string Folder { get; }

    /// <summary>A pack of a split, not yet under its name.</summary>
    public PackWriter Writer(string split, ImageShape shape, IReadOnlyList<string> classNames) =>
        new(Path.Combine(Folder, split + DatasetCatalogue.Extension), Name, split, shape, classNames);

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

        if (Folder != dataset)
        {
            FolderSwap.Exchange(Folder, dataset);
        }

        return
        [
            .. packs.Select(p => new ImportedSplit(
                p.Split, Path.Combine(dataset, p.Split + DatasetCatalogue.Extension), p.Writer.Count, shape, p.Writer.Fingerprint!)),
        ];
    }

    /// <summary>Removes what was replaced, or what was begun and not finished; files that are no packs stay in the dataset's folder.</summary>
    public void Dispose()
    {
        if (Folder == dataset)
        {
            if (!existed && Directory.Exists(Folder) && !Directory.EnumerateFileSystemEntries(Folder).Any())
            {
                Directory.Delete(Folder);
            }

            return;
        }

        foreach (var path in Directory.EnumerateFileSystemEntries(Folder).ToArray())
        {
            if (path.EndsWith(DatasetCatalogue.Extension, StringComparison.Ordinal))
            {
                File.Delete(path);
            }
            else
            {
                Directory.Move(path, Path.Combine(dataset, Path.GetFileName(path)));
            }
        }

        Directory.Delete(Folder);
    }

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
                    + "or the classes' names differ. Import with the same --resize and --channels, import under another name, or replace the whole dataset: --replace without --split.");
            }
        }
    }
}

namespace SslResearch.Core.Data;

/// <summary>Turns a source into packs under the data root. All splits of a source appear together or none does.</summary>
public static class Importers
{
    /// <summary>
    /// Imports class folders, a CIFAR binary release or idx files; the kind is found out from the files in the source. With
    /// <see cref="ImportOptions.Clips"/> it takes folders of frames instead.
    /// </summary>
    /// <param name="name">Name of the dataset: letters, digits, '-', '_', '.'.</param>
    /// <param name="source">Folder, .tar, .tar.gz or .zip.</param>
    /// <param name="dataRoot">See <see cref="DataRoot"/>.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told of images read; may be called from any thread.</param>
    /// <param name="cancel">Stops the import and leaves nothing behind.</param>
    /// <exception cref="DataException">The source cannot be used; nothing is left behind.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; nothing is left behind.</exception>
    public static ImportOutcome Import(
        string name,
        string source,
        string dataRoot,
        ImportOptions options,
        IProgress<ImportReport>? progress,
        CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(options);
        CheckName(name, "The dataset's name");
        if (options.Split is not null)
        {
            CheckName(options.Split, "The split's name");
        }

        PixelForm.Check(options.Resize, options.Channels);
        CheckNew(dataRoot, name, options);
        try
        {
            if (options.Sha256 is not null)
            {
                CheckSum(source, options.Sha256, cancel);
            }

            using var target = new ImportTarget(dataRoot, name, options.Replace && options.Split is null);
            return options.Clips is { } cut ? SequenceFolderImporter.Import(source, target, options, cut, progress, cancel) : FindKind(source) switch
            {
                SourceKind.Cifar => CifarImporter.Import(source, target, options, progress, cancel),
                SourceKind.Idx => IdxImporter.Import(source, target, options, progress, cancel),
                _ => ClassFolderImporter.Import(source, target, options, progress, cancel),
            };
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Import of '{source}' into '{Path.Combine(dataRoot, name)}' failed: {e.Message}", e);
        }
    }

    /// <summary>Nothing that is there is replaced, or grows by a split, unless the options say so.</summary>
    /// <exception cref="DataException">It is there, and they do not.</exception>
    internal static void CheckNew(string dataRoot, string name, ImportOptions options)
    {
        var splits = DatasetCatalogue.Splits(dataRoot, name);
        if (splits.Count == 0 || options.Replace || (options.Split is { } stated && !splits.Contains(stated)))
        {
            return;
        }

        var there = string.Join(", ", splits.Select(split => $"{split} ({DatasetCatalogue.Describe(dataRoot, name, split)})"));
        var mend = options.Split is { } split
            ? $"Replace '{split}' with --replace, or choose another name"
            : "Replace the whole dataset with --replace, add a split that is missing with --split NAME, or choose another name";
        throw new DataException($"There is a dataset '{name}' under '{dataRoot}' already: {there}. {mend}.");
    }

    private enum SourceKind
    {
        Images,
        Cifar,
        Idx,
    }

    /// <summary>The first file that tells decides; reading stops there.</summary>
    private static SourceKind FindKind(string source)
    {
        var leftOut = new LeftOutCount();
        foreach (var entry in EntrySource.Entries(source))
        {
            if (leftOut.Takes(entry, static _ => true, LeftOutReason.Extension) || entry.IsFolder)
            {
                continue;
            }

            if (CifarImporter.IsPart(entry.Path))
            {
                return SourceKind.Cifar;
            }

            if (IdxImporter.IsPart(entry.Path))
            {
                return SourceKind.Idx;
            }

            if (ImageDecoder.IsImage(entry.Path))
            {
                return SourceKind.Images;
            }
        }

        throw new DataException(
            $"'{source}' holds nothing that can be imported: no images (.jpg, .jpeg, .png, .bmp, .gif, .webp, .tif, .tiff) in class folders, "
            + $"no CIFAR binary files (data_batch_1.bin … or train.bin) and no idx files (train-images-idx3-ubyte …).{leftOut}");
    }

    private static void CheckName(string name, string what)
    {
        if (string.IsNullOrEmpty(name) || name[0] == '.' || !name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.'))
        {
            throw new DataException($"{what} '{name}' must consist of letters, digits, '-', '_' and '.', and not start with '.'.");
        }

        if (DatasetCatalogue.IsRendered(name) || name == DatasetFetcher.DownloadFolder)
        {
            throw new DataException($"'{name}' is reserved. Choose another name.");
        }
    }

    private static void CheckSum(string source, string expected, CancellationToken cancel)
    {
        if (Directory.Exists(source) || !File.Exists(source))
        {
            throw new DataException($"A checksum was given, but '{source}' is not a file.");
        }

        var received = Fetcher.HashFile(source, null, cancel);
        if (!received.Equals(expected.Trim(), StringComparison.OrdinalIgnoreCase))
        {
            throw new DataException(
                $"'{source}' has SHA-256 {received}, expected {expected}. Download it again, or correct the expected checksum.");
        }
    }
}

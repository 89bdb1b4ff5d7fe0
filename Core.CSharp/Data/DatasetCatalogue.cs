namespace SslResearch.Core.Data;

/// <summary>What one split holds.</summary>
/// <param name="Name">Dataset.</param>
/// <param name="Split">Split.</param>
/// <param name="Path">Its pack.</param>
/// <param name="Shape">Size of every image.</param>
/// <param name="Count">Images.</param>
/// <param name="ClassNames">Names by label.</param>
/// <param name="PerClass">Images of each class, by label.</param>
/// <param name="Unlabelled">Images without a class.</param>
/// <param name="Fingerprint">SHA-256 of the content.</param>
public sealed record DatasetInfo(
    string Name,
    string Split,
    string Path,
    ImageShape Shape,
    int Count,
    IReadOnlyList<string> ClassNames,
    IReadOnlyList<int> PerClass,
    int Unlabelled,
    string Fingerprint);

/// <summary>The datasets under a data root: <c>NAME/SPLIT.sslpack</c>.</summary>
public static class DatasetCatalogue
{
    /// <summary>Extension of pack files.</summary>
    public const string Extension = ".sslpack";

    /// <summary>Opens one split.</summary>
    /// <exception cref="DataException">Not there (the message says which command makes it), or damaged.</exception>
    public static ImageStore Open(string dataRoot, string name, string split)
    {
        var path = Path.Combine(dataRoot, name, split + Extension);
        if (File.Exists(path))
        {
            return ImageStore.Open(path);
        }

        var splits = Splits(dataRoot, name);
        if (name is ShapesDataset.DatasetName or ShapesClips.DatasetName)
        {
            throw new DataException(
                $"'{name}' is rendered by the recipes that use it, never imported. There is no pack '{split}' of it under '{dataRoot}'"
                + (splits.Count > 0 ? $", only {string.Join(", ", splits)}." : "; run such a recipe first."));
        }

        if (splits.Count > 0)
        {
            throw new DataException(
                $"Dataset '{name}' under '{dataRoot}' has no split '{split}', only {string.Join(", ", splits)}. Add it with: sslr data import {name} SOURCE --split {split}");
        }

        var fetch = KnownDatasets.Find(name) is null ? string.Empty : $"sslr data fetch {name}, or ";
        throw new DataException($"There is no dataset '{name}' under '{dataRoot}'. Make it with: {fetch}sslr data import {name} SOURCE");
    }

    /// <summary>Names of the datasets that are there, in ordinal order.</summary>
    public static IReadOnlyList<string> List(string dataRoot) => !Directory.Exists(dataRoot)
        ? []
        : [.. Directory.EnumerateDirectories(dataRoot)
            .Where(static d => Directory.EnumerateFiles(d, "*" + Extension).Any())
            .Select(static d => Path.GetFileName(d))
            .Order(StringComparer.Ordinal)];

    /// <summary>Splits of a dataset that are there, in ordinal order.</summary>
    public static IReadOnlyList<string> Splits(string dataRoot, string name)
    {
        var folder = Path.Combine(dataRoot, name);
        return !Directory.Exists(folder)
            ? []
            : [.. Directory.EnumerateFiles(folder, "*" + Extension).Select(static f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];
    }

    /// <summary>What a split holds, from its header and labels.</summary>
    public static DatasetInfo Info(string dataRoot, string name, string split)
    {
        using var store = Open(dataRoot, name, split);
        var perClass = new int[store.ClassNames.Count];
        var unlabelled = 0;
        foreach (var label in store.Labels)
        {
            if (label < 0)
            {
                unlabelled++;
            }
            else
            {
                perClass[label]++;
            }
        }

        var path = Path.Combine(dataRoot, name, split + Extension);
        return new DatasetInfo(name, split, path, store.Shape, store.Count, store.ClassNames, perClass, unlabelled, store.Fingerprint);
    }

    /// <summary>Reads a split in full and compares it with its fingerprint; labels are checked as well.</summary>
    /// <exception cref="DataException">It was damaged after the import.</exception>
    public static DatasetInfo Verify(string dataRoot, string name, string split)
    {
        var info = Info(dataRoot, name, split);
        using var store = Open(dataRoot, name, split);
        var actual = store.ComputeFingerprint();
        return actual == store.Fingerprint
            ? info
            : throw new DataException(
                $"'{info.Path}' is damaged: its content has SHA-256 {actual}, its header says {store.Fingerprint}. Delete it and import the dataset again.");
    }
}

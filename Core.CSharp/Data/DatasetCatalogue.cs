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

    /// <summary>Splits that serve as the test split of a dataset that has none, the first that is there.</summary>
    public static IReadOnlyList<string> TestStandIns { get; } = ["val", "valid", "validation"];

    /// <summary>The split that a dataset is tested on: <c>test</c>, or one that stands in for it; null where there is none.</summary>
    public static string? TestSplit(string dataRoot, string name)
    {
        var splits = Splits(dataRoot, name);
        return TestStandIns.Prepend("test").FirstOrDefault(splits.Contains);
    }

    /// <summary>Whether a name is that of images that are rendered, never imported.</summary>
    public static bool IsRendered(string name) => name is ShapesDataset.DatasetName or ShapesClips.DatasetName;

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
        if (IsRendered(name))
        {
            throw new DataException(
                $"'{name}' is rendered by the recipes that use it, never imported. There is no pack '{split}' of it under '{dataRoot}'"
                + (splits.Count > 0 ? $", only {string.Join(", ", splits)}." : "; run such a recipe first."));
        }

        if (splits.Count > 0)
        {
            var instead = split == "test"
                ? $", or hold out a part of the training split in the recipe: HeldOut(Data.imported \"{name}\", 0.1)"
                : string.Empty;
            throw new DataException(
                $"Dataset '{name}' under '{dataRoot}' has no split '{split}', only {string.Join(", ", splits)}. Add it with: sslr data import {name} SOURCE --split {split}{instead}");
        }

        var fetch = KnownDatasets.Find(name) is null ? string.Empty : $"sslr data fetch {name}, or ";
        throw new DataException($"There is no dataset '{name}' under '{dataRoot}'. Make it with: {fetch}sslr data import {name} SOURCE");
    }

    /// <summary>Names of the datasets that are there, in ordinal order.</summary>
    public static IReadOnlyList<string> List(string dataRoot) => !Directory.Exists(dataRoot)
        ? []
        : [.. Directory.EnumerateDirectories(dataRoot)
            .Select(static d => Path.GetFileName(d))
            .Where(name => name[0] != '.' && (!TrySplits(dataRoot, name, out var splits, out _) || splits.Count > 0))
            .Order(StringComparer.Ordinal)];

    /// <summary>Splits of a dataset that are there, in ordinal order.</summary>
    /// <exception cref="DataException">Its folder cannot be read.</exception>
    public static IReadOnlyList<string> Splits(string dataRoot, string name) => TrySplits(dataRoot, name, out var splits, out var why)
        ? splits
        : throw new DataException($"The folder of dataset '{name}' under '{dataRoot}' cannot be read: {why}");

    /// <summary>A split in a few words, the damage where it is damaged.</summary>
    internal static string Describe(string dataRoot, string name, string split)
    {
        try
        {
            using var store = Open(dataRoot, name, split);
            var classes = store.ClassNames.Count == 0 ? "no labels" : store.ClassNames.Count == 1 ? "1 class" : $"{store.ClassNames.Count} classes";
            return $"{store.Count} images of {store.Shape}, {classes}";
        }
        catch (DataException)
        {
            return "cannot be opened";
        }
    }

    private static bool TrySplits(string dataRoot, string name, out IReadOnlyList<string> splits, out string why)
    {
        var folder = Path.Combine(dataRoot, name);
        try
        {
            splits = !Directory.Exists(folder)
                ? []
                : [.. Directory.EnumerateFiles(folder, "*" + Extension)
                    .Select(static f => Path.GetFileNameWithoutExtension(f))
                    .Where(static split => split.Length > 0 && split[0] != '.')
                    .Order(StringComparer.Ordinal)];
            why = string.Empty;
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            (splits, why) = ([], e.Message);
            return false;
        }
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

    /// <summary>Mean and deviation of each channel of a split: from its header, or computed where that is of version 1.</summary>
    /// <exception cref="DataException">Not there, or damaged.</exception>
    public static ChannelStatistics Statistics(string dataRoot, string name, string split)
    {
        using var store = Open(dataRoot, name, split);
        return store.Statistics;
    }

    /// <summary>
    /// Reads a split in full and compares it with its fingerprint; labels and header are checked as well. Of a pack of version 1 the header has no
    /// check sum, so that a changed name is not found.
    /// </summary>
    /// <exception cref="DataException">It was damaged after the import.</exception>
    public static DatasetInfo Verify(string dataRoot, string name, string split)
    {
        var info = Info(dataRoot, name, split);
        using var store = Open(dataRoot, name, split);
        store.Verify();
        return info;
    }
}

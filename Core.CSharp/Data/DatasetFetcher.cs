namespace SslResearch.Core.Data;

/// <summary>Download and import in one.</summary>
public static class DatasetFetcher
{
    /// <summary>Folder under the data root where archives are kept.</summary>
    public const string DownloadFolder = "downloads";

    /// <summary>Downloads a known dataset to <c>DATAROOT/downloads</c>, verifies it and imports it. The archive is kept.</summary>
    /// <exception cref="DataException">Unknown name, or download or import failed.</exception>
    public static Task<ImportOutcome> FetchAsync(
        string name, string dataRoot, ImportOptions options, IProgress<ImportReport>? progress, CancellationToken cancel)
    {
        var known = KnownDatasets.Find(name)
            ?? throw new DataException(
                $"'{name}' is not in the catalogue ({string.Join(", ", KnownDatasets.All.Select(static d => d.Name))}). "
                + $"Give its address and checksum (sslr data fetch {name} --url URL --sha256 HEX), or import a file: sslr data import {name} SOURCE");
        return FetchAsync(name, known.Url, known.Sha256, dataRoot, options, progress, cancel);
    }

    /// <summary>The same for any archive.</summary>
    public static async Task<ImportOutcome> FetchAsync(
        string name,
        Uri url,
        string sha256,
        string dataRoot,
        ImportOptions options,
        IProgress<ImportReport>? progress,
        CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(url);
        ArgumentNullException.ThrowIfNull(options);
        var file = Path.GetFileName(url.LocalPath);
        if (file.Length == 0)
        {
            throw new DataException($"{url} names no file. Give the address of an archive.");
        }

        Importers.CheckNew(dataRoot, name, options);
        var archive = Path.Combine(dataRoot, DownloadFolder, file);
        using var fetcher = new Fetcher(TimeSpan.FromSeconds(60));
        await fetcher.FetchAsync(url, sha256, archive, progress, cancel).ConfigureAwait(false);
        return Importers.Import(name, archive, dataRoot, options, progress, cancel);
    }
}

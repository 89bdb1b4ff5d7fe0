namespace SslResearch.Core.Data;

/// <summary>Temporary files of imports that were killed.</summary>
internal static class Leftovers
{
    public const string Extension = ".tmp";

    private const string Pattern = ".*" + Extension;

    private static readonly TimeSpan Settled = TimeSpan.FromMinutes(1);

    /// <summary>Deletes those that nobody holds open: a living import has its files locked.</summary>
    public static void Remove(string folder)
    {
        foreach (var path in Directory.EnumerateFiles(folder, Pattern))
        {
            Try(() =>
            {
                if (IsSettled(File.GetLastWriteTimeUtc(path)))
                {
                    using (new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
                    {
                    }

                    File.Delete(path);
                }
            });
        }
    }

    /// <summary>The same of the folders in which imports prepare what is to replace a dataset.</summary>
    public static void RemoveFolders(string dataRoot)
    {
        foreach (var folder in Directory.EnumerateDirectories(dataRoot, Pattern))
        {
            Try(() =>
            {
                if (IsSettled(Directory.GetLastWriteTimeUtc(folder)))
                {
                    Remove(folder);
                    if (Directory.EnumerateFileSystemEntries(folder).All(static p => p.EndsWith(DatasetCatalogue.Extension, StringComparison.Ordinal)))
                    {
                        Directory.Delete(folder, recursive: true);
                    }
                }
            });
        }
    }

    private static bool IsSettled(DateTime written) => DateTime.UtcNow - written > Settled;

    private static void Try(Action remove)
    {
        try
        {
            remove();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // In use, or another's.
        }
    }
}

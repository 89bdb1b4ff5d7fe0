namespace SslResearch.Core.Data;

/// <summary>Temporary files of imports that were killed.</summary>
internal static class Leftovers
{
    public const string Extension = ".tmp";

    private static readonly TimeSpan Settled = TimeSpan.FromMinutes(1);

    /// <summary>Deletes those that nobody holds open: a living import has its files locked.</summary>
    public static void Remove(string folder)
    {
        foreach (var path in Directory.EnumerateFiles(folder, ".*" + Extension))
        {
            try
            {
                if (DateTime.UtcNow - File.GetLastWriteTimeUtc(path) > Settled)
                {
                    using (new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None))
                    {
                    }

                    File.Delete(path);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // In use, or another's.
            }
        }
    }
}

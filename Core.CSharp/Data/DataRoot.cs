using SslResearch.Core.Runtime;

namespace SslResearch.Core.Data;

/// <summary>The folder that holds the datasets, one subfolder each.</summary>
public static class DataRoot
{
    /// <summary>Name of the environment variable that moves the data root.</summary>
    public const string Variable = "SSLR_DATA";

    /// <summary>The option if given, else <c>SSLR_DATA</c>, else the folder <c>data</c> in the user's cache. Not created here.</summary>
    public static string Resolve(string? option)
    {
        var chosen = !string.IsNullOrWhiteSpace(option) ? option : Environment.GetEnvironmentVariable(Variable);
        return Path.GetFullPath(!string.IsNullOrWhiteSpace(chosen) ? chosen : Path.Combine(CacheRoot.Folder, "data"));
    }
}

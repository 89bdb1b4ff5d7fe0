namespace SslResearch.Core.Runtime;

/// <summary>The folder for everything that can be made again.</summary>
public static class CacheRoot
{
    /// <summary><c>$XDG_CACHE_HOME/sslr</c>, else <c>~/.cache/sslr</c> (the local application data folder on other systems).</summary>
    public static string Folder
    {
        get
        {
            var xdg = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            var home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            var root = !string.IsNullOrEmpty(xdg) ? xdg
                : OperatingSystem.IsLinux() ? Path.Combine(home, ".cache")
                : Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            return Path.Combine(root, "sslr");
        }
    }
}

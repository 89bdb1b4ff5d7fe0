namespace SslResearch.Core.Runtime;

/// <summary>The folder for everything that can be made again.</summary>
public static class CacheRoot
{
    /// <summary>Name of the environment variable that moves the caches of all programs (XDG Base Directory Specification).</summary>
    public const string Variable = "XDG_CACHE_HOME";

    /// <summary>
    /// <c>$XDG_CACHE_HOME/sslr</c>, else <c>~/.cache/sslr</c> (the local application data folder on other systems). A relative
    /// <c>XDG_CACHE_HOME</c> is ignored, as its specification says.
    /// </summary>
    /// <exception cref="TorchRuntimeException">The user has no home.</exception>
    public static string Folder
    {
        get
        {
            if (Environment.GetEnvironmentVariable(Variable) is { } xdg && Path.IsPathFullyQualified(xdg))
            {
                return Path.Combine(xdg, "sslr");
            }

            // The platform gives "/" for users that it knows no home of.
            const string home = "HOME";
            var given = OperatingSystem.IsLinux() ? Environment.GetEnvironmentVariable(home) : null;
            var folder = !string.IsNullOrEmpty(given) ? given : Environment.GetFolderPath(
                OperatingSystem.IsLinux() ? Environment.SpecialFolder.UserProfile : Environment.SpecialFolder.LocalApplicationData,
                Environment.SpecialFolderOption.DoNotVerify);
            if (!Path.IsPathFullyQualified(folder) || (folder == "/" && folder != given))
            {
                throw new TorchRuntimeException(
                    $"There is no folder for the cache: this user has no home folder, and {home} is {(string.IsNullOrEmpty(given) ? "not set" : $"'{given}', not an absolute path")}. Set {Variable} to an absolute path; datasets can lie elsewhere, too: --data DIR or SSLR_DATA.");
            }

            return OperatingSystem.IsLinux() ? Path.Combine(folder, ".cache", "sslr") : Path.Combine(folder, "sslr");
        }
    }
}

namespace SslResearch.Core.Data;

/// <summary>Paths without links, as realpath(3) gives them.</summary>
internal static class RealPath
{
    /// <summary>Linux follows as many links in one path.</summary>
    private const int MostLinks = 40;

    /// <summary>The path with every link in it followed; null where the links lead nowhere, or in a circle.</summary>
    public static string? Of(string path)
    {
        var parts = new Stack<string>(Split(Path.GetFullPath(path)));
        var real = "/";
        var links = 0;
        while (parts.TryPop(out var part))
        {
            if (part is "." or "..")
            {
                real = part == ".." ? Path.GetDirectoryName(real) ?? "/" : real;
                continue;
            }

            var next = Path.Combine(real, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                real = next;
                continue;
            }

            if (++links > MostLinks)
            {
                return null;
            }

            real = Path.IsPathRooted(target) ? "/" : real;
            foreach (var step in Split(target))
            {
                parts.Push(step);
            }
        }

        return Path.Exists(real) ? real : null;
    }

    /// <summary>The last part first, so that a stack gives the first.</summary>
    private static IEnumerable<string> Split(string path) => path.Split('/', StringSplitOptions.RemoveEmptyEntries).Reverse();
}

using System.Formats.Tar;
using System.IO.Compression;

namespace SslResearch.Core.Data;

/// <summary>One thing in a source.</summary>
/// <param name="Path">Relative, with '/'.</param>
/// <param name="IsFolder">A folder; it has no content.</param>
/// <param name="Read">Reads the whole content; valid until the next entry is asked for.</param>
internal readonly record struct SourceEntry(string Path, bool IsFolder, Func<byte[]> Read);

/// <summary>A folder, .tar, .tar.gz or .zip read in one pass; nothing is ever unpacked to disk.</summary>
internal static class EntrySource
{
    /// <summary>Larger files are no images of a dataset.</summary>
    private const long LargestEntry = 1L << 30;

    /// <summary>Everything in the source, in its own order.</summary>
    /// <exception cref="DataException">Missing, damaged, or an entry whose path leaves the source.</exception>
    public static IEnumerable<SourceEntry> Entries(string source)
    {
        if (Directory.Exists(source))
        {
            return Folder(source);
        }

        if (!File.Exists(source))
        {
            throw new DataException($"There is no file or folder '{source}'. Check the path.");
        }

        var head = new byte[4];
        using (var stream = File.OpenRead(source))
        {
            stream.ReadAtLeast(head, 4, throwOnEndOfStream: false);
        }

        return (head[0], head[1]) switch
        {
            ((byte)'P', (byte)'K') => Zip(source),
            (0x1f, 0x8b) => Tar(source, gzip: true),
            _ when source.EndsWith(".tar", StringComparison.OrdinalIgnoreCase) => Tar(source, gzip: false),
            _ => throw new DataException(
                $"'{source}' is neither a folder nor a .tar, .tar.gz or .zip archive. Give one of these."),
        };
    }

    /// <summary>Hidden files and what archivers of some systems add.</summary>
    public static bool IsIgnored(string path) =>
        path.Split('/').Any(static part => part.StartsWith('.') || part == "__MACOSX");

    private static IEnumerable<SourceEntry> Folder(string source)
    {
        foreach (var path in Directory.EnumerateFileSystemEntries(source, "*", SearchOption.AllDirectories))
        {
            var relative = Path.GetRelativePath(source, path).Replace(Path.DirectorySeparatorChar, '/');
            yield return new SourceEntry(relative, Directory.Exists(path), () => File.ReadAllBytes(path));
        }
    }

    private static IEnumerable<SourceEntry> Tar(string source, bool gzip)
    {
        using var file = new FileStream(source, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
        using Stream plain = gzip ? new GZipStream(file, CompressionMode.Decompress) : file;
        using var buffered = new BufferedStream(plain, 1 << 18);
        using var watched = new EndWatchingStream(buffered);
        using var tar = new TarReader(watched);
        while (Guard(source, () => tar.GetNextEntry()) is { } entry)
        {
            if (entry.EntryType is TarEntryType.GlobalExtendedAttributes)
            {
                continue;
            }

            if (entry.EntryType is TarEntryType.SymbolicLink or TarEntryType.HardLink)
            {
                throw new DataException(
                    $"'{source}' contains the link '{entry.Name}' to '{entry.LinkName}'. Pack the archive again with real files.");
            }

            var path = Checked(entry.Name, source);
            if (path.Length == 0)
            {
                continue;
            }

            var content = entry.DataStream;
            yield return new SourceEntry(
                path,
                entry.EntryType == TarEntryType.Directory,
                () => Guard(source, () => ReadAll(content, entry.Length, path, source)));
        }

        // A whole archive ends with zero blocks, found before the end of the file; gzip's own check sum comes last.
        if (watched.HitEnd)
        {
            throw Truncated(source, null);
        }

        Guard(source, () =>
        {
            watched.CopyTo(Stream.Null);
            return true;
        });
    }

    private static IEnumerable<SourceEntry> Zip(string source)
    {
        using var archive = Guard(source, () => ZipFile.OpenRead(source));
        foreach (var entry in archive.Entries)
        {
            const int typeMask = 0xF000, link = 0xA000;
            if (((entry.ExternalAttributes >> 16) & typeMask) == link)
            {
                throw new DataException($"'{source}' contains the link '{entry.FullName}'. Pack the archive again with real files.");
            }

            var path = Checked(entry.FullName, source);
            if (path.Length > 0)
            {
                yield return new SourceEntry(path, entry.FullName.EndsWith('/'), () => Guard(source, () =>
                {
                    using var content = entry.Open();
                    return ReadAll(content, entry.Length, path, source);
                }));
            }
        }
    }

    private static byte[] ReadAll(Stream? content, long length, string path, string source)
    {
        if (length > LargestEntry)
        {
            throw new DataException($"'{path}' in '{source}' has {length} bytes, more than an image of a dataset can have. Remove it.");
        }

        var bytes = new byte[length];
        content?.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>The path without "./" and trailing "/", or an error where it leaves the folder it would be unpacked to.</summary>
    private static string Checked(string name, string source)
    {
        var path = name.Replace('\\', '/');
        var absolute = path.StartsWith('/') || (path.Length > 1 && char.IsAsciiLetter(path[0]) && path[1] == ':');
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries).Where(static p => p != ".").ToArray();
        return absolute || parts.Contains("..")
            ? throw new DataException($"'{source}' contains '{name}', a path that leaves the target folder. Do not trust this archive; get it from its publisher.")
            : string.Join('/', parts);
    }

    private static T Guard<T>(string source, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or FormatException)
        {
            throw Truncated(source, e);
        }
    }

    private static DataException Truncated(string source, Exception? cause)
    {
        var message = $"'{source}' is truncated or damaged. Download or copy it again.";
        return cause is null ? new DataException(message) : new DataException(message, cause);
    }
}

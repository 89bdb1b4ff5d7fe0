using System.IO.Compression;

namespace SslResearch.Core.Data;

/// <summary>One thing in a source.</summary>
/// <param name="Path">Relative, with '/'.</param>
/// <param name="IsFolder">A folder; it has no content.</param>
/// <param name="Length">Bytes of its content.</param>
/// <param name="Problem">Why it cannot be read (a pipe, a device, a link to nothing); null where it can.</param>
/// <param name="ReadInto">Reads the whole content, once, into as many bytes; valid until the next entry is asked for.</param>
internal readonly record struct SourceEntry(string Path, bool IsFolder, long Length, string? Problem, EntryReader ReadInto)
{
    /// <summary>Why it is not followed, if it is such a link.</summary>
    public LeftOutReason? LeftOut { get; init; }

    /// <summary>The whole content.</summary>
    /// <param name="most">Bytes that it may have.</param>
    /// <param name="source">For messages.</param>
    /// <exception cref="DataException">Longer, not readable, or damaged.</exception>
    public byte[] Read(long most, string source)
    {
        if (Problem is not null)
        {
            throw new DataException($"'{Path}' in '{source}': {Problem}. Put the file itself there.");
        }

        if (Length > most)
        {
            throw EntrySource.TooMuch(Path, source);
        }

        var bytes = new byte[Length];
        ReadInto(bytes);
        return bytes;
    }
}

/// <summary>Fills a buffer with the whole content of an entry.</summary>
internal delegate void EntryReader(Span<byte> bytes);

/// <summary>A folder, .tar, .tar.gz or .zip read in one pass; nothing is ever unpacked to disk.</summary>
internal static class EntrySource
{
    /// <summary>Everything in the source, in its own order.</summary>
    /// <exception cref="DataException">Missing, damaged, or an entry whose path leaves the source.</exception>
    public static IEnumerable<SourceEntry> Entries(string source)
    {
        if (Directory.Exists(source))
        {
            return Folder(source);
        }

        if (!Path.Exists(source))
        {
            throw new DataException($"There is no file or folder '{source}'. Check the path.");
        }

        if (RegularFile.Problem(source) is { } problem)
        {
            throw new DataException($"'{source}': {problem}. Give a folder or a .tar, .tar.gz or .zip archive.");
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

    /// <summary>The error of files that have to be in memory as a whole and are too large for it.</summary>
    public static DataException TooMuch(string path, string source) => new(
        $"'{path}' in '{source}' is too large: idx and CIFAR files may have {ImportLimits.Tables >> 20} MiB together, unpacked. Import such a dataset as class folders of images.");

    private static IEnumerable<SourceEntry> Folder(string source)
    {
        var root = RealPath.Of(source) ?? source;
        var entered = new HashSet<string>(StringComparer.Ordinal) { root };
        var open = new Stack<(string Path, string Real)>([(source, root)]);
        while (open.TryPop(out var folder))
        {
            // In ordinal order, so that of several ways into a hidden folder the same one is taken on every machine.
            foreach (var path in Directory.EnumerateFileSystemEntries(folder.Path).Order(StringComparer.Ordinal))
            {
                var relative = Path.GetRelativePath(source, path).Replace(Path.DirectorySeparatorChar, '/');
                var isLink = new FileInfo(path).LinkTarget is not null;
                var real = isLink ? RealPath.Of(path) : Path.Combine(folder.Real, Path.GetFileName(path));
                var target = real is null ? null : Path.GetRelativePath(root, real);
                LeftOutReason? leftOut = target?.Split('/')[0] == ".." ? LeftOutReason.LinkOut : null;
                if (!Directory.Exists(path))
                {
                    var problem = leftOut is null ? RegularFile.Problem(path) : null;
                    var length = problem is null && leftOut is null ? new FileInfo(real!).Length : 0;
                    yield return new SourceEntry(relative, false, length, problem, bytes => Guard(source, () => ReadFile(path), bytes)) { LeftOut = leftOut };
                    continue;
                }

                // What a link leads to is read under its own name, unless that is hidden; and no folder twice.
                if (leftOut is null && ((isLink && (IsIgnored(relative) || !IsIgnored(target!))) || (!IsIgnored(relative) && !entered.Add(real!))))
                {
                    leftOut = LeftOutReason.LinkAgain;
                }

                yield return new SourceEntry(relative, true, 0, null, static _ => { }) { LeftOut = leftOut };
                if (leftOut is null)
                {
                    open.Push((path, real!));
                }
            }
        }
    }

    private static FileStream ReadFile(string path) => new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 0);

    private static IEnumerable<SourceEntry> Tar(string source, bool gzip)
    {
        using var file = new FileStream(source, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
        using Stream plain = gzip ? new GunzipStream(file) : file;
        using var buffered = new BufferedStream(plain, 1 << 18);
        var tar = new TarEntries(buffered);
        while (Guard(source, tar.Next) is { } entry)
        {
            if (entry.Kind is '1' or '2')
            {
                throw new DataException(
                    $"'{source}' contains the link '{entry.Name}' to '{entry.Link}'. Pack the archive again with real files.");
            }

            var path = Checked(entry.Name, source);
            if (path.Length == 0)
            {
                continue;
            }

            var problem = entry.Kind switch
            {
                '0' or '5' => null,
                '3' or '4' => "a device, not a regular file",
                '6' => "a pipe, not a regular file",
                _ => "not a regular file",
            };

            // Archives older than POSIX know folders by the '/' at their end.
            var isFolder = entry.Kind == '5' || (entry.Kind == '0' && entry.Name.EndsWith('/') && entry.Length == 0);
            yield return new SourceEntry(path, isFolder, entry.Length, problem, bytes =>
            {
                try
                {
                    tar.Read(bytes);
                }
                catch (InvalidDataException e)
                {
                    throw Damaged(source, e);
                }
            });
        }

        // The check sum of gzip comes last.
        Guard(source, () =>
        {
            buffered.CopyTo(Stream.Null);
            return true;
        });
    }

    private static IEnumerable<SourceEntry> Zip(string source)
    {
        using var archive = Guard(source, () => ZipFile.OpenRead(source));
        foreach (var entry in Guard(source, () => archive.Entries))
        {
            var mode = entry.ExternalAttributes >> 16;
            if ((mode & 0xF000) == 0xA000)
            {
                throw new DataException($"'{source}' contains the link '{entry.FullName}'. Pack the archive again with real files.");
            }

            var path = Checked(entry.FullName, source);
            if (path.Length == 0)
            {
                continue;
            }

            var isFolder = entry.FullName.EndsWith('/');
            var problem = isFolder ? null : entry.IsEncrypted ? "encrypted" : RegularFile.ProblemOfMode(mode);
            var length = Guard(source, () => entry.Length);
            if (length < 0)
            {
                throw Damaged(source, null);
            }

            yield return new SourceEntry(path, isFolder, length, problem, bytes =>
            {
                Guard(source, entry.Open, bytes);
                if (Crc32.Of(bytes) != entry.Crc32)
                {
                    throw Damaged(source, null);
                }
            });
        }
    }

    /// <summary>The path without "./" and trailing "/", or an error where it leaves the folder it would be unpacked to.</summary>
    private static string Checked(string name, string source)
    {
        if (name.Length > ImportLimits.Name)
        {
            throw new DataException($"'{source}' contains a path of {name.Length} characters. Pack the archive again.");
        }

        var path = name.Replace('\\', '/');
        var absolute = path.StartsWith('/') || (path.Length > 1 && char.IsAsciiLetter(path[0]) && path[1] == ':');
        var parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries).Where(static p => p != ".").ToArray();
        return absolute || parts.Contains("..")
            ? throw new DataException($"'{source}' contains '{name}', a path that leaves the target folder. Do not trust this archive; get it from its publisher.")
            : string.Join('/', parts);
    }

    /// <summary>Fills the buffer from a stream that has as many bytes and no more.</summary>
    private static void Guard(string source, Func<Stream> open, Span<byte> bytes)
    {
        try
        {
            using var content = open();
            content.ReadExactly(bytes);
            if (content.ReadByte() >= 0)
            {
                throw new InvalidDataException("More content than its length says.");
            }
        }
        catch (Exception e) when (IsOfContent(e))
        {
            throw Damaged(source, e);
        }
    }

    private static T Guard<T>(string source, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (IsOfContent(e))
        {
            throw Damaged(source, e);
        }
    }

    /// <summary>What the bytes of a source made a reader throw; the libraries' own readers throw much that they do not document.</summary>
    private static bool IsOfContent(Exception e) =>
        e is EndOfStreamException or not (DataException or OperationCanceledException or IOException or UnauthorizedAccessException);

    private static DataException Damaged(string source, Exception? cause)
    {
        var why = cause is InvalidDataException ? $" ({cause.Message.TrimEnd('.')})" : string.Empty;
        var message = $"'{source}' is truncated or damaged{why}. Download or copy it again.";
        return cause is null ? new DataException(message) : new DataException(message, cause);
    }
}

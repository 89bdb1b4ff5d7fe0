using System.Globalization;
using System.Text;

namespace SslResearch.Core.Data;

/// <summary>What a tar archive says of one entry.</summary>
/// <param name="Name">As stored.</param>
/// <param name="Kind">The type flag; '0' for all that stand for a file.</param>
/// <param name="Length">Bytes of content.</param>
/// <param name="Link">Target of a link.</param>
internal readonly record struct TarEntry(string Name, char Kind, long Length, string Link);

/// <summary>
/// Reads tar archives (POSIX ustar and pax, GNU long names) from front to back. Every header's check sum is verified and no size is believed before it
/// was compared with a bound. Sparse files, which would be read as something else, are refused.
/// </summary>
/// <param name="archive">Read to its end; not disposed.</param>
internal sealed class TarEntries(Stream archive)
{
    private const int Block = 512;
    private readonly byte[] header = new byte[Block];
    private readonly byte[] scratch = new byte[1 << 16];
    private long unread;
    private int padding;

    /// <summary>The next entry, or null after the mark that ends an archive; what is left of the one before is passed over.</summary>
    /// <exception cref="InvalidDataException">Truncated or damaged.</exception>
    public TarEntry? Next()
    {
        string? longName = null, longLink = null;
        long? size = null;
        while (true)
        {
            Skip(unread + padding);
            (unread, padding) = (0, 0);
            Fill(header);
            if (!header.AsSpan().ContainsAnyExcept((byte)0))
            {
                return null;
            }

            var sum = Number(148, 8);
            if (sum != header.Sum(static b => b) - header.AsSpan(148, 8).ToArray().Sum(static b => b) + (8 * ' '))
            {
                throw Damaged("a header's check sum differs");
            }

            var stored = Number(124, 12);
            var kind = (char)header[156];
            switch (kind)
            {
                case 'L':
                    longName = Text(Content(stored));
                    continue;
                case 'K':
                    longLink = Text(Content(stored));
                    continue;
                case 'x' or 'X':
                    Extended(Content(stored), ref longName, ref longLink, ref size);
                    continue;
                case 'g':
                    Content(stored);
                    continue;
                case 'S':
                    throw Sparse();
                default:
                    // Links, devices, pipes and folders have no content, whatever their size field says.
                    kind = kind is '\0' or '7' ? '0' : kind;
                    Expect(kind is '1' or '2' or '3' or '4' or '5' or '6' ? 0 : size ?? stored);
                    return new TarEntry(longName ?? Name(), kind, unread, longLink ?? Text(header.AsSpan(157, 100)));
            }
        }
    }

    /// <summary>Content of the entry that <see cref="Next"/> gave last.</summary>
    /// <param name="bytes">Of its length.</param>
    /// <exception cref="InvalidDataException">Truncated.</exception>
    public void Read(Span<byte> bytes)
    {
        if (bytes.Length != unread)
        {
            throw new InvalidOperationException("The content of an entry is read once, in full, before the next one.");
        }

        Fill(bytes);
        unread = 0;
    }

    private void Expect(long length)
    {
        if (length < 0)
        {
            throw Damaged("an entry with a negative size");
        }

        (unread, padding) = (length, (int)((Block - (length % Block)) % Block));
    }

    private byte[] Content(long length)
    {
        if (length is < 0 or > 16 * ImportLimits.Name)
        {
            throw Damaged($"a header of {length} bytes");
        }

        Expect(length);
        var bytes = new byte[length];
        Read(bytes);
        return bytes;
    }

    /// <summary>The records "LENGTH KEY=VALUE\n" of pax.</summary>
    private static void Extended(ReadOnlySpan<byte> records, ref string? name, ref string? link, ref long? size)
    {
        while (records.Length > 0)
        {
            var blank = records.IndexOf((byte)' ');
            if (blank < 1 || !int.TryParse(records[..blank], NumberStyles.None, CultureInfo.InvariantCulture, out var length)
                || length <= blank + 1 || length > records.Length || records[length - 1] != '\n')
            {
                throw Damaged("a pax record whose length is wrong");
            }

            var record = records[(blank + 1)..(length - 1)];
            records = records[length..];
            var equals = record.IndexOf((byte)'=');
            if (equals < 1)
            {
                throw Damaged("a pax record without a key");
            }

            var (key, value) = (Text(record[..equals]), Text(record[(equals + 1)..]));
            switch (key)
            {
                case "path":
                    name = value;
                    break;
                case "linkpath":
                    link = value;
                    break;
                case "size":
                    size = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : throw Damaged("a pax size that is no number");
                    break;
                default:
                    if (key.StartsWith("GNU.sparse.", StringComparison.Ordinal))
                    {
                        throw Sparse();
                    }

                    break;
            }
        }
    }

    private string Name()
    {
        var name = Text(header.AsSpan(0, 100));

        // Only POSIX archives ("ustar\0") have a prefix; GNU's ("ustar  \0") store times there.
        var prefix = header.AsSpan(257, 6).SequenceEqual("ustar\0"u8) ? Text(header.AsSpan(345, 155)) : string.Empty;
        return prefix.Length == 0 ? name : $"{prefix}/{name}";
    }

    /// <summary>Octal digits, or GNU's base 256 where the first bit is set.</summary>
    private long Number(int start, int length)
    {
        var field = header.AsSpan(start, length);
        long number = 0;
        if ((field[0] & 0x80) != 0)
        {
            number = (field[0] & 0x40) != 0 ? -1 : field[0] & 0x3F;
            foreach (var b in field[1..])
            {
                number = number is > long.MaxValue >> 8 or < 0 ? throw Damaged("a number out of range") : (number << 8) | b;
            }

            return number;
        }

        foreach (var b in field.Trim(" \0"u8))
        {
            number = b is >= (byte)'0' and <= (byte)'7' ? (number << 3) | (long)(b - '0') : throw Damaged("a number that is not octal");
        }

        return number;
    }

    private static string Text(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes.IndexOf((byte)0) is var end and >= 0 ? bytes[..end] : bytes);

    private void Fill(Span<byte> bytes)
    {
        if (archive.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
        {
            throw Damaged("the end is missing");
        }
    }

    private void Skip(long bytes)
    {
        while (bytes > 0)
        {
            var count = (int)Math.Min(bytes, scratch.Length);
            Fill(scratch.AsSpan(0, count));
            bytes -= count;
        }
    }

    private static InvalidDataException Damaged(string what) => new($"Not a whole tar archive: {what}.");

    private static DataException Sparse() =>
        new("The archive holds sparse files, which are not read. Pack it again without --sparse.");
}

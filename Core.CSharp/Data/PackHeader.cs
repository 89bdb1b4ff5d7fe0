using System.Buffers.Binary;
using System.Text;

namespace SslResearch.Core.Data;

/// <summary>
/// The head of a <c>.sslpack</c> file. Layout, little-endian:
/// <code>
///   0  "SSLRPACK"           8 bytes
///   8  version              int32 (1)
///  12  header bytes         int32, names included
///  16  N                    int64
///  24  H, W, C              3 × int32
///  36  classes              int32
///  40  offset of pixels     int64, multiple of 4096: (N, H, W, C) uint8
///  48  offset of labels     int64, multiple of 4096: (N) int32, -1 = no label
///  56  length of the file   int64
///  64  fingerprint          32 bytes, SHA-256 of the content
///  96  name, split, class names: each int32 byte count + UTF-8
/// </code>
/// </summary>
internal sealed record PackHeader(
    long Count,
    ImageShape Shape,
    string Name,
    string Split,
    IReadOnlyList<string> ClassNames,
    byte[] Fingerprint)
{
    public const int Version = 1;
    public const int Page = 4096;
    private const int Fixed = 96;

    private static ReadOnlySpan<byte> Magic => "SSLRPACK"u8;

    public int HeaderBytes =>
        Fixed + Names().Sum(static n => sizeof(int) + Encoding.UTF8.GetByteCount(n));

    public long PixelOffset => Align(HeaderBytes);

    public long LabelOffset => Align(PixelOffset + (Count * Shape.Bytes));

    public long FileLength => LabelOffset + (Count * sizeof(int));

    public byte[] ToBytes()
    {
        var bytes = new byte[HeaderBytes];
        var span = bytes.AsSpan();
        Magic.CopyTo(span);
        BinaryPrimitives.WriteInt32LittleEndian(span[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(span[12..], bytes.Length);
        BinaryPrimitives.WriteInt64LittleEndian(span[16..], Count);
        BinaryPrimitives.WriteInt32LittleEndian(span[24..], Shape.Height);
        BinaryPrimitives.WriteInt32LittleEndian(span[28..], Shape.Width);
        BinaryPrimitives.WriteInt32LittleEndian(span[32..], Shape.Channels);
        BinaryPrimitives.WriteInt32LittleEndian(span[36..], ClassNames.Count);
        BinaryPrimitives.WriteInt64LittleEndian(span[40..], PixelOffset);
        BinaryPrimitives.WriteInt64LittleEndian(span[48..], LabelOffset);
        BinaryPrimitives.WriteInt64LittleEndian(span[56..], FileLength);
        Fingerprint.CopyTo(span[64..]);
        var at = Fixed;
        foreach (var name in Names())
        {
            var length = Encoding.UTF8.GetBytes(name, span[(at + sizeof(int))..]);
            BinaryPrimitives.WriteInt32LittleEndian(span[at..], length);
            at += sizeof(int) + length;
        }

        return bytes;
    }

    /// <summary>Reads and checks the head; <paramref name="path"/> is for messages only.</summary>
    public static PackHeader Read(Stream stream, string path)
    {
        var start = new byte[Fixed];
        if (stream.ReadAtLeast(start, Fixed, throwOnEndOfStream: false) < Fixed || !start.AsSpan(0, 8).SequenceEqual(Magic))
        {
            throw new DataException($"'{path}' is not a dataset pack. Import the dataset again.");
        }

        var span = start.AsSpan();
        var version = BinaryPrimitives.ReadInt32LittleEndian(span[8..]);
        if (version != Version)
        {
            throw new DataException($"'{path}' is a pack of version {version}, this program reads version {Version}. Import the dataset again.");
        }

        var headerBytes = BinaryPrimitives.ReadInt32LittleEndian(span[12..]);
        var count = BinaryPrimitives.ReadInt64LittleEndian(span[16..]);
        var shape = new ImageShape(
            BinaryPrimitives.ReadInt32LittleEndian(span[24..]),
            BinaryPrimitives.ReadInt32LittleEndian(span[28..]),
            BinaryPrimitives.ReadInt32LittleEndian(span[32..]));
        var classes = BinaryPrimitives.ReadInt32LittleEndian(span[36..]);
        var stated = BinaryPrimitives.ReadInt64LittleEndian(span[56..]);
        if (stream.Length != stated)
        {
            throw new DataException(
                $"'{path}' has {stream.Length} bytes where its header says {stated}: it is truncated or damaged. Delete it and import the dataset again.");
        }

        var sensible = headerBytes >= Fixed && headerBytes <= stated && count is > 0 and <= int.MaxValue
            && shape is { Height: > 0 and <= 1 << 15, Width: > 0 and <= 1 << 15, Channels: > 0 and <= 4 }
            && classes >= 0 && classes <= headerBytes / sizeof(int);
        var names = sensible ? ReadNames(stream, headerBytes - Fixed, classes + 2) : null;
        if (names is not null)
        {
            var header = new PackHeader(count, shape, names[0], names[1], names[2..], start[64..96]);
            if (header.HeaderBytes == headerBytes
                && header.FileLength == stated
                && header.PixelOffset == BinaryPrimitives.ReadInt64LittleEndian(span[40..])
                && header.LabelOffset == BinaryPrimitives.ReadInt64LittleEndian(span[48..]))
            {
                return header;
            }
        }

        throw new DataException($"The header of '{path}' is damaged. Delete the file and import the dataset again.");
    }

    private static string[]? ReadNames(Stream stream, int length, int count)
    {
        var bytes = new byte[length];
        stream.ReadExactly(bytes);
        var names = new string[count];
        var at = 0;
        for (var i = 0; i < count; i++)
        {
            if (at + sizeof(int) > length)
            {
                return null;
            }

            var size = BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(at));
            at += sizeof(int);
            if (size < 0 || size > length - at)
            {
                return null;
            }

            names[i] = Encoding.UTF8.GetString(bytes, at, size);
            at += size;
        }

        return names;
    }

    private IEnumerable<string> Names() => [Name, Split, .. ClassNames];

    private static long Align(long offset) => (offset + Page - 1) / Page * Page;
}

using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace SslResearch.Core.Data;

/// <summary>
/// The head of a <c>.sslpack</c> file. Layout, little-endian:
/// <code>
///   0  "SSLRPACK"           8 bytes
///   8  version              int32 (2)
///  12  header bytes         int32, names included
///  16  N                    int64
///  24  H, W, C              3 × int32
///  36  classes              int32
///  40  offset of pixels     int64, multiple of 4096: (N, H, W, C) uint8
///  48  offset of labels     int64, multiple of 4096: (N) int32, -1 = no label
///  56  length of the file   int64
///  64  fingerprint          32 bytes, SHA-256 of the content
///  96  sums of channels     4 × uint64 over all pixels, 0 beyond C
/// 128  sums of squares      4 × uint64 likewise
/// 160  check sum            32 bytes, SHA-256 of the header with zeros here
/// 192  name, split, class names: each int32 byte count + UTF-8
/// </code>
/// All between these parts is 0. Version 1 has its names at 96, and neither sums nor check sum.
/// </summary>
internal sealed record PackHeader(
    long Count,
    ImageShape Shape,
    string Name,
    string Split,
    IReadOnlyList<string> ClassNames,
    byte[] Fingerprint,
    ChannelSums? Sums)
{
    public const int Version = 2;
    public const int Page = 4096;
    private const int SumsAt = 96;
    private const int CheckAt = 160;
    private const int LongestSide = 1 << 15;

    private static int Fixed(int version) => version == 1 ? SumsAt : CheckAt + SHA256.HashSizeInBytes;

    private static ReadOnlySpan<byte> Magic => "SSLRPACK"u8;

    /// <summary>Why no pack holds such images; null where one does.</summary>
    public static string? Problem(ImageShape shape)
    {
        var isWithin = shape is { Height: > 0 and <= LongestSide, Width: > 0 and <= LongestSide, Channels: > 0 and <= ChannelSums.Channels };
        return isWithin && (long)shape.Height * shape.Width * shape.Channels <= Array.MaxLength
            ? null
            : $"images of {shape}, where sides may have 1 to {LongestSide} pixels, images 1 to {ChannelSums.Channels} channels and {Array.MaxLength} bytes";
    }

    public int HeaderBytes =>
        Fixed(Sums is null ? 1 : Version) + Names().Sum(static n => sizeof(int) + Encoding.UTF8.GetByteCount(n));

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
        for (var c = 0; c < ChannelSums.Channels; c++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(span[(SumsAt + (sizeof(ulong) * c))..], Sums!.Values[c]);
            BinaryPrimitives.WriteUInt64LittleEndian(span[(SumsAt + (sizeof(ulong) * (ChannelSums.Channels + c)))..], Sums.Squares[c]);
        }

        var at = Fixed(Version);
        foreach (var name in Names())
        {
            var length = Encoding.UTF8.GetBytes(name, span[(at + sizeof(int))..]);
            BinaryPrimitives.WriteInt32LittleEndian(span[at..], length);
            at += sizeof(int) + length;
        }

        SHA256.HashData(span, span.Slice(CheckAt, SHA256.HashSizeInBytes));
        return bytes;
    }

    /// <summary>Reads and checks the head; <paramref name="path"/> is for messages only.</summary>
    public static PackHeader Read(Stream stream, string path)
    {
        var start = new byte[SumsAt];
        if (stream.ReadAtLeast(start, SumsAt, throwOnEndOfStream: false) < SumsAt || !start.AsSpan(0, 8).SequenceEqual(Magic))
        {
            throw new DataException($"'{path}' is not a dataset pack. Import the dataset again.");
        }

        var span = start.AsSpan();
        var version = BinaryPrimitives.ReadInt32LittleEndian(span[8..]);
        if (version is not (1 or Version))
        {
            throw new DataException($"'{path}' is a pack of version {version}, this program reads versions 1 and {Version}. Import the dataset again.");
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

        // The check sum is over less than a header can say: names of 16 MiB are no names.
        const int longest = 1 << 24;
        var names = Fixed(version);
        if (headerBytes >= names && headerBytes <= Math.Min(stated, longest) && count is > 0 and <= int.MaxValue && Problem(shape) is null
            && classes >= 0 && classes <= headerBytes / sizeof(int))
        {
            var bytes = new byte[headerBytes];
            stream.Position = 0;
            stream.ReadExactly(bytes);
            var sums = version == 1 ? null : ReadSums(bytes);
            if (ReadNames(bytes.AsSpan(names), classes + 2) is { } all && (version == 1 || IsWhole(bytes)))
            {
                var header = new PackHeader(count, shape, all[0], all[1], all[2..], start[64..96], sums);
                if (header.HeaderBytes == headerBytes
                    && header.FileLength == stated
                    && header.PixelOffset == BinaryPrimitives.ReadInt64LittleEndian(span[40..])
                    && header.LabelOffset == BinaryPrimitives.ReadInt64LittleEndian(span[48..]))
                {
                    return header;
                }
            }
        }

        throw new DataException($"The header of '{path}' is damaged. Delete the file and import the dataset again.");
    }

    private static ChannelSums ReadSums(ReadOnlySpan<byte> header)
    {
        var sums = new ChannelSums();
        for (var c = 0; c < ChannelSums.Channels; c++)
        {
            sums.Values[c] = BinaryPrimitives.ReadUInt64LittleEndian(header[(SumsAt + (sizeof(ulong) * c))..]);
            sums.Squares[c] = BinaryPrimitives.ReadUInt64LittleEndian(header[(SumsAt + (sizeof(ulong) * (ChannelSums.Channels + c)))..]);
        }

        return sums;
    }

    private static bool IsWhole(Span<byte> header)
    {
        var check = header.Slice(CheckAt, SHA256.HashSizeInBytes);
        var stated = check.ToArray();
        check.Clear();
        return SHA256.HashData(header).AsSpan().SequenceEqual(stated);
    }

    private static string[]? ReadNames(ReadOnlySpan<byte> bytes, int count)
    {
        var names = new string[count];
        var at = 0;
        for (var i = 0; i < count; i++)
        {
            if (at + sizeof(int) > bytes.Length)
            {
                return null;
            }

            var size = BinaryPrimitives.ReadInt32LittleEndian(bytes[at..]);
            at += sizeof(int);
            if (size < 0 || size > bytes.Length - at)
            {
                return null;
            }

            names[i] = Encoding.UTF8.GetString(bytes.Slice(at, size));
            at += size;
        }

        return names;
    }

    private IEnumerable<string> Names() => [Name, Split, .. ClassNames];

    private static long Align(long offset) => (offset + Page - 1) / Page * Page;
}

using System.Buffers.Binary;

namespace SslResearch.Core.Data;

/// <summary>How the rows and columns of a file lie in the image it shows: values 1 to 8 of the tag 0x0112 of Exif and TIFF.</summary>
internal static class Orientation
{
    private const ushort Tag = 0x0112;

    /// <summary>As stored.</summary>
    public const int Upright = 1;

    /// <summary>Orientation in an Exif block (a TIFF header and its first directory); upright where there is none or it makes no sense.</summary>
    public static int OfExif(ReadOnlySpan<byte> exif)
    {
        if (exif.StartsWith("Exif\0\0"u8))
        {
            exif = exif[6..];
        }

        if (exif.Length < 8 || ImageFormats.Of(exif) != ImageFormat.Tiff)
        {
            return Upright;
        }

        var little = exif[0] == 'I';
        long directory = little ? BinaryPrimitives.ReadUInt32LittleEndian(exif[4..]) : BinaryPrimitives.ReadUInt32BigEndian(exif[4..]);
        if (directory + 2 > exif.Length)
        {
            return Upright;
        }

        const int entryBytes = 12, valueOffset = 8;
        var count = Short(exif[(int)directory..], little);
        for (var at = directory + 2; count > 0 && at + entryBytes <= exif.Length; at += entryBytes, count--)
        {
            var entry = exif[(int)at..];
            if (Short(entry, little) == Tag)
            {
                return Short(entry[valueOffset..], little) is var value and >= 1 and <= 8 ? value : Upright;
            }
        }

        return Upright;
    }

    /// <summary>Orientation in the chunk eXIf of a PNG that has its end.</summary>
    public static int OfPng(ReadOnlySpan<byte> file)
    {
        const int signature = 8, frame = 12;
        for (long at = signature; at + frame <= file.Length;)
        {
            var length = (long)BinaryPrimitives.ReadUInt32BigEndian(file[(int)at..]);
            if (file.Slice((int)at + 4, 4).SequenceEqual("eXIf"u8) && at + frame + length <= file.Length)
            {
                return OfExif(file.Slice((int)at + 8, (int)length));
            }

            at += frame + length;
        }

        return Upright;
    }

    /// <summary>Size of the image that is shown.</summary>
    public static ImageShape Shown(ImageShape stored, int orientation) =>
        orientation >= 5 ? stored with { Height = stored.Width, Width = stored.Height } : stored;

    /// <summary>Copies pixels (H, W, 3) as they lie in the file to where they are shown.</summary>
    public static void Apply(ReadOnlySpan<byte> from, ImageShape stored, int orientation, Span<byte> to)
    {
        var (height, width) = (stored.Height, stored.Width);
        var shownWidth = Shown(stored, orientation).Width;
        for (var row = 0; row < height; row++)
        {
            for (var column = 0; column < width; column++)
            {
                var (r, c) = orientation switch
                {
                    2 => (row, width - 1 - column),
                    3 => (height - 1 - row, width - 1 - column),
                    4 => (height - 1 - row, column),
                    5 => (column, row),
                    6 => (column, height - 1 - row),
                    7 => (width - 1 - column, height - 1 - row),
                    8 => (width - 1 - column, row),
                    _ => (row, column),
                };
                from.Slice(((row * width) + column) * 3, 3).CopyTo(to.Slice(((r * shownWidth) + c) * 3, 3));
            }
        }
    }

    private static int Short(ReadOnlySpan<byte> bytes, bool little) =>
        little ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : BinaryPrimitives.ReadUInt16BigEndian(bytes);
}

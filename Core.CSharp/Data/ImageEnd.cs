using System.Buffers.Binary;

namespace SslResearch.Core.Data;

/// <summary>
/// Walks through an image file to the mark that ends it. Decoders go without: a JPEG without its last bytes is decoded with its last rows made up.
/// Whatever follows the mark is left alone.
/// </summary>
internal static class ImageEnd
{
    /// <summary>Whether the file ends before its format says. Files that are damaged otherwise are left to their decoder.</summary>
    public static bool IsMissing(ReadOnlySpan<byte> file) => ImageFormats.Of(file) switch
    {
        ImageFormat.Jpeg => !Jpeg(file),
        ImageFormat.Png => !Png(file),
        ImageFormat.WebP => !WebP(file),
        ImageFormat.Bmp => BmpDecoder.IsCut(file),
        _ => false,
    };

    /// <summary>Whether a JPEG has several scans, so that its decoder keeps the coefficients of the whole image.</summary>
    public static bool HasScans(ReadOnlySpan<byte> file)
    {
        var components = 0;
        var at = 2;
        while (JpegMarker(file, ref at) is var marker and not (0 or 0xD9))
        {
            const byte progressive = 0xC2, scan = 0xDA;
            if (marker == progressive)
            {
                return true;
            }

            if (at + 2 > file.Length)
            {
                return false;
            }

            // Frame: length, precision, height, width, components. Scan: length, components.
            if (marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC) && at + 7 < file.Length)
            {
                components = file[at + 7];
            }

            if (marker == scan)
            {
                return at + 2 < file.Length && file[at + 2] < components;
            }

            at += BinaryPrimitives.ReadUInt16BigEndian(file[at..]);
        }

        return false;
    }

    /// <summary>To EOI: marker segments are passed over by their length, entropy-coded data to the next marker (ITU T.81, annex B).</summary>
    private static bool Jpeg(ReadOnlySpan<byte> file)
    {
        var at = 2;
        while (true)
        {
            switch (JpegMarker(file, ref at))
            {
                case 0:
                    return false;
                case 0xD9:
                    return true;
                case 0x01 or (>= 0xD0 and <= 0xD8):
                    break;
                default:
                    if (at + 2 > file.Length)
                    {
                        return false;
                    }

                    at += BinaryPrimitives.ReadUInt16BigEndian(file[at..]);
                    break;
            }
        }
    }

    /// <summary>The next marker, behind whatever lies before it; 0 where there is none.</summary>
    private static byte JpegMarker(ReadOnlySpan<byte> file, ref int at)
    {
        while (at < file.Length)
        {
            var next = file[at..].IndexOf((byte)0xFF);
            if (next < 0)
            {
                return 0;
            }

            at += next;
            while (at < file.Length && file[at] == 0xFF)
            {
                at++;
            }

            if (at < file.Length && file[at++] is var marker and not 0)
            {
                return marker;
            }
        }

        return 0;
    }

    /// <summary>To the chunk IEND, its check sum included.</summary>
    private static bool Png(ReadOnlySpan<byte> file)
    {
        const int signature = 8, frame = 12;
        for (long at = signature; at + frame <= file.Length;)
        {
            var chunk = file[(int)at..];
            at += frame + (long)BinaryPrimitives.ReadUInt32BigEndian(chunk);
            if (chunk[4..8].SequenceEqual("IEND"u8))
            {
                return at <= file.Length;
            }
        }

        return false;
    }

    private static bool WebP(ReadOnlySpan<byte> file) => 8 + (long)BinaryPrimitives.ReadUInt32LittleEndian(file[4..]) <= file.Length;
}

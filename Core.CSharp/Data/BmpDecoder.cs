using System.Buffers.Binary;

namespace SslResearch.Core.Data;

/// <summary>
/// Windows bitmaps with a palette: 1, 4 and 8 bits, plain or run-length coded. Palettes may be shorter than declared, and pixels that run-length data
/// skip have entry 0, as in Pillow; a pixel without an entry is damage. Bitmaps without a palette are left to the general decoder.
/// </summary>
internal static class BmpDecoder
{
    private const int FileHeader = 14;
    private const int Core = 12;
    private const uint Runs8 = 1;
    private const uint Runs4 = 2;

    /// <summary>What the headers say.</summary>
    /// <param name="Width">Pixels.</param>
    /// <param name="Height">Pixels.</param>
    /// <param name="IsTopDown">The first row is the upper one.</param>
    /// <param name="Bits">Of a pixel.</param>
    /// <param name="Compression">0 for none.</param>
    /// <param name="Pixels">Where they begin.</param>
    /// <param name="Palette">Bytes of all entries that are there.</param>
    /// <param name="EntryBytes">Bytes of an entry.</param>
    private readonly record struct Header(
        long Width, long Height, bool IsTopDown, int Bits, uint Compression, long Pixels, Range Palette, int EntryBytes)
    {
        public long RowBytes => ((Width * Bits) + 31) / 32 * 4;

        public bool IsRuns => Bits is 4 or 8 && Compression is Runs8 or Runs4;
    }

    /// <summary>Whether the file ends before its last row; run-length data tell that themselves.</summary>
    public static bool IsCut(ReadOnlySpan<byte> file) =>
        Read(file) is not { } header || (!header.IsRuns && header.Pixels + (header.RowBytes * header.Height) > file.Length);

    /// <summary>Size where it has a palette; null where it has none.</summary>
    public static (int Width, int Height)? Size(ReadOnlySpan<byte> file) =>
        Read(file) is { Bits: 1 or 4 or 8, Compression: 0 or Runs8 or Runs4 } header && header.Width <= int.MaxValue && header.Height <= int.MaxValue
            ? ((int)header.Width, (int)header.Height)
            : null;

    /// <summary>Decodes.</summary>
    /// <param name="file">The whole file, not cut.</param>
    /// <param name="rgb">(H, W, 3).</param>
    /// <returns>Why it cannot be decoded; null where it can.</returns>
    public static string? Decode(ReadOnlySpan<byte> file, Span<byte> rgb)
    {
        const string noEntry = "damaged image (a pixel without an entry in the palette)";
        var header = Read(file)!.Value;
        var palette = file[header.Palette];
        var (width, height) = ((int)header.Width, (int)header.Height);
        if (header.Pixels > file.Length || palette.Length < header.EntryBytes)
        {
            return "damaged image (no palette, or no pixels)";
        }

        if (header.IsRuns)
        {
            if (header.IsTopDown || header.Bits != (header.Compression == Runs8 ? 8 : 4))
            {
                return "damaged image (run-length data of another kind than its header)";
            }

            for (var at = 0; at < rgb.Length; at += 3)
            {
                Put(rgb, at, palette, header.EntryBytes, 0);
            }

            return Runs(file[(int)header.Pixels..], header, palette, rgb) ? null : "truncated or damaged image";
        }

        var perByte = 8 / header.Bits;
        var mask = (1 << header.Bits) - 1;
        for (var row = 0; row < height; row++)
        {
            var bytes = file.Slice((int)(header.Pixels + (row * header.RowBytes)), (int)header.RowBytes);
            var to = (header.IsTopDown ? row : height - 1 - row) * width * 3;
            for (var column = 0; column < width; column++)
            {
                var entry = (bytes[column / perByte] >> (8 - (header.Bits * ((column % perByte) + 1)))) & mask;
                if (!Put(rgb, to + (column * 3), palette, header.EntryBytes, entry))
                {
                    return noEntry;
                }
            }
        }

        return null;
    }

    private static Header? Read(ReadOnlySpan<byte> file)
    {
        const int usual = 40;
        if (file.Length < FileHeader + Core)
        {
            return null;
        }

        long pixels = BinaryPrimitives.ReadUInt32LittleEndian(file[10..]);
        long size = BinaryPrimitives.ReadUInt32LittleEndian(file[FileHeader..]);
        var info = file[FileHeader..];
        if (size != Core && (size < usual || info.Length < usual))
        {
            return null;
        }

        var (width, height, bits, compression, used) = size == Core
            ? (BinaryPrimitives.ReadUInt16LittleEndian(info[4..]), BinaryPrimitives.ReadInt16LittleEndian(info[6..]), BinaryPrimitives.ReadUInt16LittleEndian(info[10..]), 0u, 0u)
            : (BinaryPrimitives.ReadInt32LittleEndian(info[4..]), (long)BinaryPrimitives.ReadInt32LittleEndian(info[8..]), BinaryPrimitives.ReadUInt16LittleEndian(info[14..]),
                BinaryPrimitives.ReadUInt32LittleEndian(info[16..]), BinaryPrimitives.ReadUInt32LittleEndian(info[32..]));
        var entryBytes = size == Core ? 3 : 4;
        var palette = FileHeader + size;
        var most = bits <= 8 ? 1L << bits : 0;
        var entries = Math.Min(used == 0 ? most : Math.Min(used, most), Math.Max(0, Math.Min(pixels, file.Length) - palette) / entryBytes);
        var range = entries == 0 ? default : (int)palette..(int)(palette + (entries * entryBytes));
        return width < 1 || height == 0 ? null : new Header(width, Math.Abs(height), height < 0, bits, compression, pixels, range, entryBytes);
    }

    /// <summary>Pairs of count and value; after 0: 0 ends a row, 1 the image, 2 moves on, others are so many pixels as they are.</summary>
    /// <returns>Whether the end mark was met.</returns>
    private static bool Runs(ReadOnlySpan<byte> runs, Header header, ReadOnlySpan<byte> palette, Span<byte> rgb)
    {
        var half = header.Bits == 4;
        var (at, column, row) = (0, 0L, 0L);
        while (at + 2 <= runs.Length)
        {
            var (count, value) = (runs[at], runs[at + 1]);
            at += 2;
            if (count == 0 && value == 1)
            {
                return true;
            }

            if (count == 0 && value == 0)
            {
                (column, row) = (0, row + 1);
                continue;
            }

            if (count == 0 && value == 2)
            {
                if (at + 2 > runs.Length)
                {
                    return false;
                }

                (column, row) = (column + runs[at], row + runs[at + 1]);
                at += 2;
                continue;
            }

            var asTheyAre = count == 0;
            var pixels = asTheyAre ? value : count;
            var bytes = half ? (pixels + 1) / 2 : pixels;
            if (asTheyAre && at + bytes > runs.Length)
            {
                return false;
            }

            for (var i = 0; i < pixels; i++, column++)
            {
                var stored = asTheyAre ? runs[at + (half ? i / 2 : i)] : value;
                var entry = !half ? stored : i % 2 == 0 ? stored >> 4 : stored & 15;

                // The odd half byte of a row's last run may lie behind the row.
                if (column < header.Width
                    && (row >= header.Height || !Put(rgb, (int)((((header.Height - 1 - row) * header.Width) + column) * 3), palette, header.EntryBytes, entry)))
                {
                    return false;
                }
            }

            at += asTheyAre ? (bytes + 1) / 2 * 2 : 0;
        }

        return false;
    }

    private static bool Put(Span<byte> rgb, int at, ReadOnlySpan<byte> palette, int entryBytes, int entry)
    {
        if ((entry + 1) * entryBytes > palette.Length)
        {
            return false;
        }

        var colour = palette.Slice(entry * entryBytes, 3);
        (rgb[at], rgb[at + 1], rgb[at + 2]) = (colour[2], colour[1], colour[0]);
        return true;
    }
}

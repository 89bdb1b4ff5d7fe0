using System.Buffers.Binary;

namespace SslResearch.Core.Data;

/// <summary>
/// The first frame of a GIF file (GIF89a specification) in the colours of its palette, the transparent entry's included, which general decoders
/// replace by black. Where the frame does not reach, the transparent entry's colour lies, or without one that of entry 0, as in Pillow.
/// </summary>
internal static class GifDecoder
{
    private const int Codes = 1 << 12;

    /// <summary>Size of the canvas; the file has at least its header.</summary>
    public static (int Width, int Height) Size(ReadOnlySpan<byte> file) =>
        file.Length < 13 ? default : (BinaryPrimitives.ReadUInt16LittleEndian(file[6..]), BinaryPrimitives.ReadUInt16LittleEndian(file[8..]));

    /// <summary>Decodes.</summary>
    /// <param name="file">The whole file.</param>
    /// <param name="rgb">(H, W, 3) of the canvas.</param>
    /// <returns>Why it cannot be decoded; null where it can.</returns>
    public static string? Decode(ReadOnlySpan<byte> file, Span<byte> rgb)
    {
        var (canvasWidth, canvasHeight) = Size(file);
        var at = 13;
        var global = Palette(file, file[10], ref at);
        var transparent = -1;
        var drawn = false;
        while (at < file.Length)
        {
            const byte image = 0x2C, extension = 0x21, trailer = 0x3B, control = 0xF9;
            switch (file[at++])
            {
                case trailer:
                    return drawn ? null : "damaged image (no frame)";
                case extension when at < file.Length:
                    // Graphic control: length 4, flags, delay, transparent entry.
                    if (!drawn && file[at] == control && at + 5 < file.Length && (file[at + 2] & 1) != 0)
                    {
                        transparent = file[at + 5];
                    }

                    at++;
                    break;
                case image when at + 9 <= file.Length:
                    var frame = file[at..];
                    at += 9;
                    var local = Palette(file, frame[8], ref at);
                    if (at >= file.Length)
                    {
                        return "truncated image";
                    }

                    var minimum = file[at++];
                    if (!drawn)
                    {
                        var palette = local.IsEmpty ? global : local;
                        Fill(rgb, palette, Math.Max(0, transparent));
                        var area = new Frame(
                            BinaryPrimitives.ReadUInt16LittleEndian(frame),
                            BinaryPrimitives.ReadUInt16LittleEndian(frame[2..]),
                            BinaryPrimitives.ReadUInt16LittleEndian(frame[4..]),
                            BinaryPrimitives.ReadUInt16LittleEndian(frame[6..]),
                            (frame[8] & 0x40) != 0);
                        if (area.Left + area.Width > canvasWidth || area.Top + area.Height > canvasHeight)
                        {
                            return "damaged image (a frame larger than the canvas)";
                        }

                        if (Draw(file[at..], minimum, palette, area, canvasWidth, rgb) is { } problem)
                        {
                            return problem;
                        }

                        drawn = true;
                    }

                    break;
                case 0:
                    continue;
                default:
                    return at >= file.Length ? "truncated image" : "damaged image (an unknown block)";
            }

            if (!SkipBlocks(file, ref at))
            {
                return "truncated image";
            }
        }

        return "truncated image";
    }

    private readonly record struct Frame(int Left, int Top, int Width, int Height, bool Interlaced);

    private static ReadOnlySpan<byte> Palette(ReadOnlySpan<byte> file, byte flags, ref int at)
    {
        if ((flags & 0x80) == 0)
        {
            return default;
        }

        var bytes = 3 << ((flags & 7) + 1);
        var palette = at + bytes <= file.Length ? file.Slice(at, bytes) : default;
        at += bytes;
        return palette;
    }

    private static bool SkipBlocks(ReadOnlySpan<byte> file, ref int at)
    {
        while (at < file.Length)
        {
            var length = file[at++];
            if (length == 0)
            {
                return true;
            }

            at += length;
        }

        return false;
    }

    private static void Fill(Span<byte> rgb, ReadOnlySpan<byte> palette, int entry)
    {
        for (var i = 0; i + 3 <= rgb.Length; i += 3)
        {
            Put(rgb, i, palette, entry);
        }
    }

    /// <summary>Without a palette entries are shades of grey. False where a palette ends before an entry, which is left black.</summary>
    private static bool Put(Span<byte> rgb, int at, ReadOnlySpan<byte> palette, int entry)
    {
        if (palette.IsEmpty)
        {
            rgb.Slice(at, 3).Fill((byte)entry);
            return true;
        }

        if (3 * entry < palette.Length)
        {
            palette.Slice(3 * entry, 3).CopyTo(rgb[at..]);
            return true;
        }

        rgb.Slice(at, 3).Clear();
        return false;
    }

    /// <summary>LZW with codes of variable length (appendix F).</summary>
    private static string? Draw(ReadOnlySpan<byte> blocks, int minimum, ReadOnlySpan<byte> palette, Frame frame, int canvasWidth, Span<byte> rgb)
    {
        if (minimum is < 1 or > 8)
        {
            return "damaged image (LZW code size)";
        }

        Span<ushort> prefix = stackalloc ushort[Codes];
        Span<byte> last = stackalloc byte[Codes];
        Span<byte> text = stackalloc byte[Codes];
        var clear = 1 << minimum;
        var (bits, next, before, first) = (minimum + 1, clear + 2, -1, (byte)0);
        var (held, count) = (0u, 0);
        var (at, left) = (0, 0);
        var (stored, column) = (0, 0);
        var row = Row(0, frame);
        while (stored < frame.Height && frame.Width > 0)
        {
            while (count < bits)
            {
                if (left == 0)
                {
                    if (at >= blocks.Length || (left = blocks[at++]) == 0)
                    {
                        return "truncated image";
                    }
                }

                if (at >= blocks.Length)
                {
                    return "truncated image";
                }

                held |= (uint)blocks[at++] << count;
                count += 8;
                left--;
            }

            var code = (int)(held & ((1u << bits) - 1));
            held >>= bits;
            count -= bits;
            if (code == clear)
            {
                (bits, next, before) = (minimum + 1, clear + 2, -1);
                continue;
            }

            if (code == clear + 1)
            {
                return "truncated image";
            }

            if (code > next || (code == next && before < 0) || (before < 0 && code >= clear))
            {
                return "damaged image (LZW code)";
            }

            var length = 0;
            var walk = code;
            if (code == next)
            {
                text[length++] = first;
                walk = before;
            }

            while (walk >= clear)
            {
                text[length++] = last[walk];
                walk = prefix[walk];
            }

            first = (byte)walk;
            text[length++] = first;
            if (before >= 0 && next < Codes)
            {
                (prefix[next], last[next]) = ((ushort)before, first);
                next++;
                if (next == 1 << bits && bits < 12)
                {
                    bits++;
                }
            }

            before = code;
            while (length > 0 && stored < frame.Height)
            {
                if (!Put(rgb, (((frame.Top + row) * canvasWidth) + frame.Left + column) * 3, palette, text[--length]))
                {
                    return "damaged image (a pixel without an entry in the palette)";
                }

                if (++column == frame.Width)
                {
                    column = 0;
                    row = Row(++stored, frame);
                }
            }
        }

        return null;
    }

    /// <summary>Interlaced frames hold every eighth row, those between, then every fourth and every second one.</summary>
    private static int Row(int stored, Frame frame)
    {
        if (!frame.Interlaced)
        {
            return stored;
        }

        foreach (var (start, step) in ((int, int)[])[(0, 8), (4, 8), (2, 4), (1, 2)])
        {
            var rows = (frame.Height - start + step - 1) / step;
            if (stored < rows)
            {
                return start + (stored * step);
            }

            stored -= Math.Max(0, rows);
        }

        return frame.Height - 1;
    }
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BitMiracle.LibTiff.Classic;

namespace SslResearch.Core.Data;

/// <summary>
/// The first page of a TIFF file (revision 6.0, not BigTIFF): grey and palette of 1 to 8 bits, grey and RGB of 8 or 16, JPEG's YCbCr; in strips or tiles,
/// plain, LZW, PackBits, Deflate or JPEG. Of 16 bits the upper eight are kept. Transparency is dropped; colours that were stored multiplied by it are
/// divided first, as Pillow does. Everything else is refused with its name.
/// </summary>
internal sealed class TiffDecoder : IDisposable
{
    private static readonly Recorder Messages = new();

    private readonly Tiff tiff;
    private readonly Stream stream;
    private readonly int bits;
    private readonly int samples;
    private readonly bool planes;
    private readonly bool premultiplied;
    private readonly Photometric photometric;
    private readonly byte[] palette = [];

    static TiffDecoder() => Tiff.SetErrorHandler(Messages);

    private TiffDecoder(Tiff tiff, Stream stream, out string? problem)
    {
        (this.tiff, this.stream) = (tiff, stream);
        Width = Field(TiffTag.IMAGEWIDTH, 0);
        Height = Field(TiffTag.IMAGELENGTH, 0);
        Orientation = Field(TiffTag.ORIENTATION, 1) is var o and >= 1 and <= 8 ? o : 1;
        bits = Field(TiffTag.BITSPERSAMPLE, 1);
        samples = Field(TiffTag.SAMPLESPERPIXEL, 1);
        planes = samples > 1 && Field(TiffTag.PLANARCONFIG, 1) == (int)PlanarConfig.SEPARATE;
        photometric = (Photometric)Field(TiffTag.PHOTOMETRIC, (int)Photometric.MINISBLACK);
        var compression = (Compression)Field(TiffTag.COMPRESSION, (int)Compression.NONE);
        if (photometric == Photometric.YCBCR && compression == Compression.JPEG)
        {
            tiff.SetField(TiffTag.JPEGCOLORMODE, JpegColorMode.RGB);
            photometric = Photometric.RGB;
        }

        if (tiff.GetField(TiffTag.EXTRASAMPLES) is [var count, var kinds] && count.ToInt() > 0)
        {
            premultiplied = kinds.ToShortArray()[0] == (short)ExtraSample.ASSOCALPHA && photometric == Photometric.RGB;
        }

        problem = Unread(compression);
        if (problem is null && photometric == Photometric.PALETTE)
        {
            palette = Colours(tiff.GetField(TiffTag.COLORMAP), 1 << bits);
            problem = palette.Length == 0 ? "damaged image (no palette)" : null;
        }
    }

    public int Width { get; }

    public int Height { get; }

    /// <summary>1 to 8.</summary>
    public int Orientation { get; }

    /// <summary>Bytes of a strip or tile, unpacked, and as much again for each of the library's own buffers.</summary>
    public long WorkingBytes => 4L * PieceBytes;

    private int PieceBytes => tiff.IsTiled() ? tiff.TileSize() : tiff.StripSize();

    /// <summary>Opens a file that is kept in place by its caller.</summary>
    /// <param name="file">The whole file.</param>
    /// <param name="problem">Why it cannot be decoded.</param>
    /// <returns>Null where it cannot.</returns>
    public static unsafe TiffDecoder? Open(NativeBytes file, out string? problem)
    {
        if ((problem = DirectoryProblem(file.Span)) is not null)
        {
            return null;
        }

        Recorder.Clear();
        var stream = new UnmanagedMemoryStream((byte*)file.Start, file.Length);
        var tiff = Tiff.ClientOpen("image", "r", stream, new TiffStream());
        if (tiff is null)
        {
            problem = $"damaged image ({Recorder.Error ?? "no TIFF directory"})";
            stream.Dispose();
            return null;
        }

        TiffDecoder? decoder = null;
        try
        {
            decoder = new TiffDecoder(tiff, stream, out problem);
            return problem is null ? decoder : null;
        }
        finally
        {
            if (decoder is null || problem is not null)
            {
                tiff.Dispose();
                stream.Dispose();
            }
        }
    }

    /// <summary>Decodes.</summary>
    /// <param name="rgb">(H, W, 3).</param>
    /// <returns>Why it cannot be decoded; null where it can.</returns>
    public string? Decode(Span<byte> rgb)
    {
        Recorder.Clear();
        var tiled = tiff.IsTiled();
        var rowsPerStrip = (int)Math.Min((uint)Height, (uint)Field(TiffTag.ROWSPERSTRIP, Height));
        var (pieceWidth, pieceHeight) = tiled ? (Field(TiffTag.TILEWIDTH, 0), Field(TiffTag.TILELENGTH, 0)) : (Width, rowsPerStrip);
        if (pieceWidth < 1 || pieceHeight < 1)
        {
            return "damaged image (strips or tiles without size)";
        }

        var rowBytes = (int)(((((long)pieceWidth * (planes ? 1 : samples)) * bits) + 7) / 8);
        if ((long)rowBytes * pieceHeight > PieceBytes)
        {
            return "damaged image (strips or tiles of another size than the image's)";
        }

        var piece = new byte[PieceBytes];
        for (var plane = 0; plane < (planes ? Math.Min(samples, 3) : 1); plane++)
        {
            for (var top = 0; top < Height; top += pieceHeight)
            {
                for (var left = 0; left < Width; left += pieceWidth)
                {
                    var rows = Math.Min(pieceHeight, Height - top);
                    var index = tiled ? tiff.ComputeTile(left, top, 0, (short)plane) : tiff.ComputeStrip(top, (short)plane);
                    var wanted = rowBytes * (tiled ? pieceHeight : rows);
                    if ((tiled ? tiff.RawTileSize(index) : tiff.RawStripSize(index)) > stream.Length)
                    {
                        return "truncated image";
                    }

                    var read = tiled ? tiff.ReadEncodedTile(index, piece, 0, wanted) : tiff.ReadEncodedStrip(index, piece, 0, wanted);
                    if (read < wanted || Recorder.Error is not null)
                    {
                        return $"truncated or damaged image{(Recorder.Error is null ? string.Empty : $" ({Recorder.Error})")}";
                    }

                    for (var row = 0; row < rows; row++)
                    {
                        var columns = Math.Min(pieceWidth, Width - left);
                        Put(piece.AsSpan(row * rowBytes, rowBytes), plane, rgb.Slice((((top + row) * Width) + left) * 3, columns * 3));
                    }
                }
            }
        }

        return null;
    }

    public void Dispose()
    {
        tiff.Dispose();
        stream.Dispose();
    }

    /// <summary>Whether the first directory and the values it points to can lie within the file: the library believes their sizes.</summary>
    private static string? DirectoryProblem(ReadOnlySpan<byte> file)
    {
        const int entryBytes = 12, inPlace = 4;
        var little = file[0] == 'I';
        uint Long(ReadOnlySpan<byte> bytes) => little ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : BinaryPrimitives.ReadUInt32BigEndian(bytes);
        ushort Short(ReadOnlySpan<byte> bytes) => little ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : BinaryPrimitives.ReadUInt16BigEndian(bytes);
        var start = file.Length < 8 ? file.Length : (long)Long(file[4..]);
        if (start + 2 > file.Length)
        {
            return "truncated image";
        }

        var count = Short(file[(int)start..]);
        if (start + 2 + ((long)count * entryBytes) > file.Length)
        {
            return "truncated image";
        }

        // Width and height of the image, rows of a strip, width and height of a tile: the library makes tables as long as their number.
        long width = 1, height = 1, rows = uint.MaxValue, tileWidth = 0, tileHeight = 0;
        for (var i = 0; i < count; i++)
        {
            var entry = file.Slice((int)start + 2 + (i * entryBytes), entryBytes);
            var bytes = (long)Long(entry[4..]) * (Short(entry[2..]) switch
            {
                1 or 2 or 6 or 7 => 1,
                3 or 8 => 2,
                4 or 9 or 11 or 13 => 4,
                5 or 10 or 12 => 8,
                _ => 0,
            });
            if (bytes > inPlace && Long(entry[8..]) + bytes > file.Length)
            {
                return "truncated image";
            }

            long value = Short(entry[2..]) == 3 ? Short(entry[8..]) : Long(entry[8..]);
            switch ((TiffTag)Short(entry))
            {
                case TiffTag.IMAGEWIDTH:
                    width = value;
                    break;
                case TiffTag.IMAGELENGTH:
                    height = value;
                    break;
                case TiffTag.ROWSPERSTRIP:
                    rows = value;
                    break;
                case TiffTag.TILEWIDTH:
                    tileWidth = value;
                    break;
                case TiffTag.TILELENGTH:
                    tileHeight = value;
                    break;
                default:
                    break;
            }
        }

        var pieces = tileWidth > 0 && tileHeight > 0
            ? ((width + tileWidth - 1) / tileWidth) * ((height + tileHeight - 1) / tileHeight)
            : (height + Math.Max(1, rows) - 1) / Math.Max(1, rows);
        return pieces > file.Length ? "damaged image (more strips or tiles than bytes)" : null;
    }

    private string? Unread(Compression compression)
    {
        var format = Field(TiffTag.SAMPLEFORMAT, (int)SampleFormat.UINT);
        // The library's CCITT decoder goes on for ever on some damaged data.
        if (compression is not (Compression.NONE or Compression.LZW or Compression.PACKBITS or Compression.DEFLATE or Compression.ADOBE_DEFLATE or Compression.JPEG))
        {
            return $"TIFF compression {compression} is not read";
        }

        if (format is not ((int)SampleFormat.UINT or (int)SampleFormat.VOID))
        {
            return $"TIFF with samples of kind {(SampleFormat)format} is not read";
        }

        var read = photometric switch
        {
            Photometric.MINISBLACK or Photometric.MINISWHITE => bits is 1 or 2 or 4 or 8 or 16 && !planes,
            Photometric.PALETTE => bits is 1 or 2 or 4 or 8 && !planes,
            Photometric.RGB => bits is 8 or 16 && samples >= 3 && !(planes && premultiplied),
            _ => false,
        };
        return read && samples is >= 1 and <= 16 ? null : $"TIFF of kind {photometric} with {samples} samples of {bits} bits is not read";
    }

    private static byte[] Colours(FieldValue[]? map, int entries)
    {
        if (map is not { Length: 3 } || map.Any(m => m.ToShortArray() is not { } values || values.Length < entries))
        {
            return [];
        }

        var channels = map.Select(static m => m.ToShortArray()).ToArray();
        var colours = new byte[entries * 3];
        for (var i = 0; i < colours.Length; i++)
        {
            colours[i] = (byte)((ushort)channels[i % 3][i / 3] >> 8);
        }

        return colours;
    }

    private void Put(ReadOnlySpan<byte> row, int plane, Span<byte> rgb)
    {
        var perPixel = planes ? 1 : samples;
        for (var column = 0; column * 3 < rgb.Length; column++)
        {
            var pixel = rgb.Slice(column * 3, 3);
            var first = column * perPixel;
            switch (photometric)
            {
                case Photometric.PALETTE:
                    palette.AsSpan(Stored(row, first) * 3, 3).CopyTo(pixel);
                    break;
                case Photometric.RGB when planes:
                    pixel[plane] = Scaled(row, first);
                    break;
                case Photometric.RGB:
                    var alpha = premultiplied ? Scaled(row, first + 3) : byte.MaxValue;
                    for (var c = 0; c < 3; c++)
                    {
                        var value = Scaled(row, first + c);
                        pixel[c] = alpha is 0 or byte.MaxValue ? value : (byte)Math.Min(byte.MaxValue, byte.MaxValue * value / alpha);
                    }

                    break;
                default:
                    var grey = Scaled(row, first);
                    pixel.Fill(photometric == Photometric.MINISWHITE ? (byte)~grey : grey);
                    break;
            }
        }
    }

    /// <summary>Sample at a place of a row; of 16 bits, which the library brings into this machine's order, the upper eight.</summary>
    private int Stored(ReadOnlySpan<byte> row, int place) => bits switch
    {
        8 => row[place],
        16 => MemoryMarshal.Cast<byte, ushort>(row)[place] >> 8,
        _ => (row[place * bits / 8] >> (8 - bits - (place * bits % 8))) & ((1 << bits) - 1),
    };

    private byte Scaled(ReadOnlySpan<byte> row, int place) =>
        (byte)(bits >= 8 ? Stored(row, place) : Stored(row, place) * byte.MaxValue / ((1 << bits) - 1));

    private int Field(TiffTag tag, int absent) => tiff.GetField(tag) is [var value, ..] ? value.ToInt() : absent;

    /// <summary>Keeps the first message of the thread's work; the library would write it to the console.</summary>
    private sealed class Recorder : TiffErrorHandler
    {
        [ThreadStatic]
        private static string? error;

        public static string? Error => error;

        public static void Clear() => error = null;

        public override void ErrorHandler(Tiff tif, string method, string format, params object[] args) =>
            error ??= string.Format(System.Globalization.CultureInfo.InvariantCulture, format, args).TrimEnd('.');

        public override void ErrorHandlerExt(Tiff tif, object clientData, string method, string format, params object[] args)
        {
        }

        /// <summary>Warnings are of tags that are not known, or of compressed data that end early.</summary>
        public override void WarningHandler(Tiff tif, string method, string format, params object[] args) => ErrorHandler(tif, method, format, args);

        public override void WarningHandlerExt(Tiff tif, object clientData, string method, string format, params object[] args)
        {
        }
    }
}

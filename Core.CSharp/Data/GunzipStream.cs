using System.Buffers.Binary;
using System.IO.Compression;

namespace SslResearch.Core.Data;

/// <summary>
/// Unpacks gzip (RFC 1952), any number of members one after the other. Unlike <see cref="GZipStream"/> it insists on each member's check sum and
/// length, so that a file cut within its last eight bytes is noticed. After the last member zero bytes may follow, as tapes pad; anything else is refused.
/// </summary>
/// <param name="file">The gzip file; disposed with this.</param>
internal sealed class GunzipStream(Stream file) : ReadOnlyStream
{
    private const int TrailerBytes = 8;
    private readonly Feed feed = new(file);
    private DeflateStream? member;
    private uint sum;
    private long length;
    private bool any;
    private bool ended;

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">Truncated or damaged.</exception>
    public override int Read(Span<byte> buffer)
    {
        while (!ended && buffer.Length > 0)
        {
            if (member is null && !NextMember())
            {
                break;
            }

            var read = member!.Read(buffer);
            if (read > 0)
            {
                sum = Crc32.Of(buffer[..read], sum);
                length += read;
                return read;
            }

            EndMember();
        }

        return 0;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            member?.Dispose();
            feed.Dispose();
            file.Dispose();
        }

        base.Dispose(disposing);
    }

    private bool NextMember()
    {
        var first = feed.ReadByte();
        if (any && first <= 0)
        {
            while (first == 0)
            {
                first = feed.ReadByte();
            }

            ended = first < 0;
            return ended ? false : throw new InvalidDataException("What follows the compressed data is neither gzip nor zero bytes.");
        }

        const int deflate = 8, headerSum = 2, extra = 4, name = 8, comment = 16, reserved = 0xE0;
        if (first != 0x1f || Need() != 0x8b || Need() != deflate)
        {
            throw new InvalidDataException("Not a gzip member.");
        }

        var flags = Need();
        Skip(6);
        if ((flags & reserved) != 0)
        {
            throw new InvalidDataException("A gzip member with reserved flags.");
        }

        if ((flags & extra) != 0)
        {
            Skip(Need() | (Need() << 8));
        }

        for (var texts = ((flags & name) != 0 ? 1 : 0) + ((flags & comment) != 0 ? 1 : 0); texts > 0; texts--)
        {
            while (Need() != 0)
            {
            }
        }

        Skip((flags & headerSum) != 0 ? 2 : 0);
        (any, sum, length) = (true, 0, 0);
        member = new DeflateStream(feed, CompressionMode.Decompress, leaveOpen: true);
        return true;
    }

    /// <summary>
    /// The decompressor does not say how much of its last piece it used. The member ends where its check sum and length stand: 64 bits that
    /// nothing else in the piece has.
    /// </summary>
    private void EndMember()
    {
        member!.Dispose();
        member = null;
        Span<byte> trailer = stackalloc byte[TrailerBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, sum);
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], (uint)length);
        if (!feed.GoBehind(trailer))
        {
            throw new InvalidDataException("A gzip member lacks its check sum and length, or they differ.");
        }
    }

    private int Need() => feed.ReadByte() is var b and >= 0 ? b : throw new InvalidDataException("The gzip file ends early.");

    private void Skip(int bytes)
    {
        for (; bytes > 0; bytes--)
        {
            Need();
        }
    }

    /// <summary>Hands a file on in pieces and can go back within the last one.</summary>
    private sealed class Feed(Stream file) : ReadOnlyStream
    {
        private const int PieceBytes = 1 << 13;

        // The last piece, and room for a trailer that begins in it.
        private readonly byte[] piece = new byte[PieceBytes + TrailerBytes];
        private int start;
        private int next;
        private int end;

        public override int Read(Span<byte> buffer)
        {
            if (buffer.IsEmpty || !Fill())
            {
                return 0;
            }

            start = next;
            var count = Math.Min(buffer.Length, end - next);
            piece.AsSpan(next, count).CopyTo(buffer);
            next += count;
            return count;
        }

        public override int ReadByte() => Fill() ? piece[next++] : -1;

        /// <summary>To behind the first place, in what was handed on last, where these bytes stand.</summary>
        public bool GoBehind(ReadOnlySpan<byte> mark)
        {
            var rest = end - start;
            piece.AsSpan(start, rest).CopyTo(piece);
            (start, next, end) = (0, next - start, rest);
            end += file.ReadAtLeast(piece.AsSpan(end, Math.Min(TrailerBytes, piece.Length - end)), TrailerBytes, throwOnEndOfStream: false);
            var at = piece.AsSpan(0, Math.Min(end, next + TrailerBytes)).IndexOf(mark);
            next = at + TrailerBytes;
            return at >= 0;
        }

        private bool Fill()
        {
            if (next == end)
            {
                (start, next, end) = (0, 0, file.Read(piece, 0, PieceBytes));
            }

            return next < end;
        }
    }
}

using System.Buffers.Binary;
using System.Text;

namespace SslResearch.Core.Runtime;

/// <summary>
/// Edits the symbol-version requirements of a 64-bit little-endian ELF image held in memory.
/// Layout: System V gABI, chapter "Symbol Versioning" (Elf64_Verneed, Elf64_Vernaux).
/// </summary>
public static class ElfVersionNeed
{
    private const uint SectionTypeVersionNeed = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort FlagWeak = 0x2; // VER_FLG_WEAK: a missing version is no longer an error at load time

    /// <summary>Marks the need for <paramref name="version"/> as weak.</summary>
    /// <param name="image">The whole file; changed in place.</param>
    /// <param name="version">For example <c>GLIBCXX_3.4.32</c>.</param>
    /// <returns>True if an entry was changed; false if there is none or it was weak already.</returns>
    /// <exception cref="InvalidDataException">The bytes are no 64-bit little-endian ELF file.</exception>
    public static bool Weaken(Span<byte> image, string version)
    {
        if (image.Length < 64 || !image[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
        {
            throw new InvalidDataException("Not a 64-bit little-endian ELF file.");
        }

        var sectionTable = (int)BinaryPrimitives.ReadUInt64LittleEndian(image[0x28..]);
        var sectionSize = BinaryPrimitives.ReadUInt16LittleEndian(image[0x3A..]);
        var sectionCount = BinaryPrimitives.ReadUInt16LittleEndian(image[0x3C..]);
        var changed = false;
        for (var i = 0; i < sectionCount; i++)
        {
            var section = image.Slice(sectionTable + (i * sectionSize), 64);
            if (BinaryPrimitives.ReadUInt32LittleEndian(section[4..]) != SectionTypeVersionNeed)
            {
                continue;
            }

            var offset = (int)BinaryPrimitives.ReadUInt64LittleEndian(section[24..]);
            var link = (int)BinaryPrimitives.ReadUInt32LittleEndian(section[40..]);
            var strings = (int)BinaryPrimitives.ReadUInt64LittleEndian(image.Slice(sectionTable + (link * sectionSize) + 24, 8));
            changed |= WeakenSection(image, offset, strings, Encoding.ASCII.GetBytes(version));
        }

        return changed;
    }

    private static bool WeakenSection(Span<byte> image, int offset, int strings, ReadOnlySpan<byte> version)
    {
        var changed = false;
        for (uint next = 1; next != 0; offset += (int)next)
        {
            var count = BinaryPrimitives.ReadUInt16LittleEndian(image[(offset + 2)..]);
            var entry = offset + (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(offset + 8)..]);
            next = BinaryPrimitives.ReadUInt32LittleEndian(image[(offset + 12)..]);
            for (var j = 0; j < count; j++)
            {
                var name = image[(strings + (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(entry + 8)..]))..];
                var flags = BinaryPrimitives.ReadUInt16LittleEndian(image[(entry + 4)..]);
                if (name[..name.IndexOf((byte)0)].SequenceEqual(version) && (flags & FlagWeak) == 0)
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(image[(entry + 4)..], (ushort)(flags | FlagWeak));
                    changed = true;
                }

                entry += (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(entry + 12)..]);
            }
        }

        return changed;
    }
}

using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace SslResearch.Core.Data;

/// <summary>
/// The fingerprint of a dataset: SHA-256 of pixels, then labels (int32), then shape and class names.
/// Name and split are left out: equal content has an equal fingerprint.
/// </summary>
internal sealed class ContentHash : IDisposable
{
    private readonly IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public void Pixels(ReadOnlySpan<byte> pixels) => hash.AppendData(pixels);

    public byte[] Finish(ReadOnlySpan<int> labels, ImageShape shape, IReadOnlyList<string> classNames)
    {
        hash.AppendData(MemoryMarshal.AsBytes(labels));
        hash.AppendData(Encoding.UTF8.GetBytes($"\n{shape}\n{string.Join('\n', classNames)}\n"));
        return hash.GetHashAndReset();
    }

    /// <summary>The fingerprint of a part: SHA-256 of the whole's and of the positions (int32).</summary>
    public static string Part(string whole, ReadOnlySpan<int> positions)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.ASCII.GetBytes(whole));
        hash.AppendData(MemoryMarshal.AsBytes(positions));
        return Text(hash.GetHashAndReset());
    }

    public static string Text(byte[] fingerprint) => Convert.ToHexStringLower(fingerprint);

    public void Dispose() => hash.Dispose();
}

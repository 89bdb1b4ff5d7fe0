using Microsoft.Win32.SafeHandles;

namespace SslResearch.Core.Data;

/// <summary>Decoded images in the order of their decoding, on disk beside the packs, until their final order is known.</summary>
internal sealed class SpoolFile : IDisposable
{
    private readonly string path;
    private readonly SafeFileHandle handle;
    private readonly Lock gate = new();
    private int count;
    private (ImageShape Shape, string Path)? first;

    public SpoolFile(string folder)
    {
        Directory.CreateDirectory(folder);
        path = Path.Combine(folder, $".spool.{Guid.NewGuid():N}{Leftovers.Extension}");
        handle = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
    }

    /// <summary>Size of every image, once there is one.</summary>
    public ImageShape Shape => first!.Value.Shape;

    /// <summary>Stores an image. Thread-safe.</summary>
    /// <returns>Its slot.</returns>
    /// <exception cref="DataException">Its size differs from the others'.</exception>
    public int Add(ReadOnlySpan<byte> pixels, ImageShape shape, string name)
    {
        int slot;
        lock (gate)
        {
            first ??= (shape, name);
            if (first.Value.Shape != shape)
            {
                // Which image came first depends on threads: name both in a fixed order.
                var other = (Shape: shape, Path: name);
                var (a, b) = string.CompareOrdinal(first.Value.Path, name) < 0 ? (first.Value, other) : (other, first.Value);
                throw new DataException(
                    $"Image sizes differ: '{a.Path}' is {a.Shape}, '{b.Path}' is {b.Shape}. Give --resize N (the shorter side to N, then the middle square) or --resize HxW (exactly).");
            }

            slot = count++;
        }

        RandomAccess.Write(handle, pixels, (long)slot * shape.Bytes);
        return slot;
    }

    public void Read(int slot, Span<byte> pixels)
    {
        if (RandomAccess.Read(handle, pixels, (long)slot * pixels.Length) != pixels.Length)
        {
            throw new EndOfStreamException("The temporary file of the import ended early.");
        }
    }

    public void Dispose()
    {
        handle.Dispose();
        File.Delete(path);
    }
}

using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>
/// Images of one split: (N, H, W, C) uint8 with labels and class names, in memory or mapped from a <c>.sslpack</c> file.
/// Immutable; reading is thread-safe. Disposing it ends every span it handed out.
/// </summary>
public sealed unsafe class ImageStore : IDisposable
{
    private readonly byte[]? memory;
    private readonly int[] labels;
    private readonly MemoryMappedFile? file;
    private readonly MemoryMappedViewAccessor? view;
    private readonly Lazy<string> fingerprint;
    private readonly ImageStore? whole;
    private readonly int[]? members;
    private byte* mapped;
    private bool disposed;

    private ImageStore(PackHeader header, int[] labels, byte[]? memory, MemoryMappedFile? file, MemoryMappedViewAccessor? view)
    {
        (Name, Split, Shape, Count, ClassNames) = (header.Name, header.Split, header.Shape, (int)header.Count, header.ClassNames);
        (this.labels, this.memory, this.file, this.view) = (labels, memory, file, view);
        if (view is not null)
        {
            byte* start = null;
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            mapped = start + view.PointerOffset + header.PixelOffset;
        }

        fingerprint = view is not null
            ? new Lazy<string>(ContentHash.Text(header.Fingerprint))
            : new Lazy<string>(ComputeFingerprint);
    }

    private ImageStore(ImageStore whole, int[] members, string split)
    {
        (Name, Split, Shape, Count, ClassNames) = (whole.Name, split, whole.Shape, members.Length, whole.ClassNames);
        (this.whole, this.members) = (whole, members);
        labels = Array.ConvertAll(members, i => whole.labels[i]);
        fingerprint = new Lazy<string>(() => ContentHash.Part(whole.Fingerprint, members));
    }

    /// <summary>Name of the dataset, for example <c>cifar10</c>.</summary>
    public string Name { get; }

    /// <summary>Size of every image.</summary>
    public ImageShape Shape { get; }

    /// <summary>Number of images, at least one.</summary>
    public int Count { get; }

    /// <summary>Names of the classes, by label.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>Name of the split, for example <c>train</c>.</summary>
    public string Split { get; }

    /// <summary>
    /// SHA-256 of pixels, labels, shape and class names, 64 hexadecimal digits; from the header of a pack, computed on first use in memory.
    /// That of a part is the SHA-256 of the whole's fingerprint and the positions in it.
    /// </summary>
    public string Fingerprint => fingerprint.Value;

    /// <summary>Maps a pack of the cache, which is made first where it is missing or damaged.</summary>
    /// <param name="path">The pack.</param>
    /// <param name="make">Writes it.</param>
    internal static ImageStore OpenOrMake(string path, Action make)
    {
        if (File.Exists(path))
        {
            try
            {
                return Open(path);
            }
            catch (DataException)
            {
                // Nothing is lost: it is made again.
            }
        }

        make();
        return Open(path);
    }

    /// <summary>Maps a pack. Takes milliseconds whatever its size: lengths and labels are checked, pixels are not read.</summary>
    /// <exception cref="DataException">Missing, truncated or damaged.</exception>
    public static ImageStore Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new DataException($"There is no dataset pack '{path}'. Import the dataset first (sslr data import NAME SOURCE).");
        }

        MemoryMappedFile? file = null;
        MemoryMappedViewAccessor? view = null;
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            var header = PackHeader.Read(stream, path);
            var labels = new int[header.Count];
            stream.Position = header.LabelOffset;
            stream.ReadExactly(MemoryMarshal.AsBytes(labels.AsSpan()));
            CheckLabels(labels, header.ClassNames.Count, path);
            file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            return new ImageStore(header, labels, null, file, view);
        }
        catch (Exception e)
        {
            view?.Dispose();
            file?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
            {
                throw new DataException($"'{path}' cannot be read: {e.Message}", e);
            }

            throw;
        }
    }

    /// <summary>A store over arrays, which are not copied.</summary>
    /// <param name="name">Name of the dataset.</param>
    /// <param name="shape">Size of every image.</param>
    /// <param name="pixels">(N, H, W, C) uint8.</param>
    /// <param name="labels">(N), -1 for none.</param>
    /// <param name="classNames">Names by label.</param>
    /// <param name="split">Name of the split.</param>
    /// <exception cref="ArgumentException">Pixels, labels and shape do not agree.</exception>
    /// <exception cref="DataException">A label is no class.</exception>
    public static ImageStore FromMemory(
        string name, ImageShape shape, byte[] pixels, int[] labels, IReadOnlyList<string> classNames, string split)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        ArgumentNullException.ThrowIfNull(labels);
        ArgumentNullException.ThrowIfNull(classNames);
        if (shape.Bytes <= 0 || labels.Length == 0 || pixels.LongLength != (long)shape.Bytes * labels.Length)
        {
            throw new ArgumentException(
                $"Expected at least one label and {shape.Bytes} bytes ({shape}) an image; received {labels.Length} labels and {pixels.LongLength} bytes.", nameof(pixels));
        }

        CheckLabels(labels, classNames.Count, name);
        return new ImageStore(new PackHeader(labels.Length, shape, name, split, [.. classNames], new byte[32]), labels, pixels, null, null);
    }

    /// <summary>Some images of this store, as a store that reads them here and must not outlive it.</summary>
    /// <param name="positions">Positions in this store, in the order of the part; at least one.</param>
    /// <param name="split">Name of the part.</param>
    /// <exception cref="ArgumentException">No positions, or one that is no image.</exception>
    public ImageStore Part(ReadOnlySpan<int> positions, string split)
    {
        if (positions.IsEmpty)
        {
            throw new ArgumentException("A part needs at least one image.", nameof(positions));
        }

        foreach (var position in positions)
        {
            if ((uint)position >= (uint)Count)
            {
                throw new ArgumentException($"Position {position} is no image of '{Name}' ({Split}), which holds images 0 to {Count - 1}.", nameof(positions));
            }
        }

        return new ImageStore(this, positions.ToArray(), split);
    }

    /// <summary>Image at a position: (H, W, C) uint8, valid until the store is disposed.</summary>
    public ReadOnlySpan<byte> Pixels(long index)
    {
        if ((ulong)index >= (ulong)Count || disposed)
        {
            Refuse(index);
        }

        if (whole is not null)
        {
            return whole.Pixels(members![index]);
        }

        var bytes = Shape.Bytes;
        return memory is null ? new ReadOnlySpan<byte>(mapped + (index * bytes), bytes) : memory.AsSpan((int)index * bytes, bytes);
    }

    /// <summary>Class of the image at a position; -1 where there is none.</summary>
    public int Label(long index) => labels[index];

    /// <summary>All labels, by position.</summary>
    public ReadOnlySpan<int> Labels => labels;

    /// <summary>The fingerprint of what is there now, read in full; it differs from <see cref="Fingerprint"/> if a pack was damaged.</summary>
    public string ComputeFingerprint()
    {
        if (whole is not null)
        {
            return ContentHash.Part(whole.ComputeFingerprint(), members!);
        }

        using var hash = new ContentHash();
        for (long i = 0; i < Count; i++)
        {
            hash.Pixels(Pixels(i));
        }

        return ContentHash.Text(hash.Finish(labels, Shape, ClassNames));
    }

    /// <summary>Unmaps the file.</summary>
    public void Dispose()
    {
        if (disposed)
        {
            return;
        }

        disposed = true;
        if (view is not null)
        {
            mapped = null;
            view.SafeMemoryMappedViewHandle.ReleasePointer();
            view.Dispose();
            file!.Dispose();
        }
    }

    private static void CheckLabels(ReadOnlySpan<int> labels, int classes, string where)
    {
        for (var i = 0; i < labels.Length; i++)
        {
            if (labels[i] < -1 || labels[i] >= classes)
            {
                throw new DataException(
                    $"Image {i} of '{where}' has label {labels[i]}, but there are {classes} classes. Correct the labels and import again.");
            }
        }
    }

    private void Refuse(long index)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        throw new ArgumentOutOfRangeException(nameof(index), index, $"'{Name}' ({Split}) holds images 0 to {Count - 1}.");
    }
}

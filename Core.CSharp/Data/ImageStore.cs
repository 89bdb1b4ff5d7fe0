using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>
/// Images of one split: (N, H, W, C) uint8 with labels and class names, in memory or mapped from a <c>.sslpack</c> file.
/// Immutable; reading is thread-safe. Disposing it ends every span it handed out.
/// <para>
/// Whoever reads what a mapped file has no longer is ended by the system. The file's length is therefore looked at when an image is asked for, at
/// most once a millisecond, and a file that was cut is an error; packs are only ever replaced by renaming, which leaves what is mapped as it is. Not
/// caught are a cut between that look and the reading, and media that fail while they are read.
/// </para>
/// </summary>
public sealed unsafe class ImageStore : IDisposable
{
    private const int BlockBytes = 1 << 22;

    private readonly byte[]? memory;
    private readonly int[] labels;
    private readonly FileStream? file;
    private readonly MemoryMappedFile? mapping;
    private readonly MemoryMappedViewAccessor? view;
    private readonly PackHeader? header;
    private readonly string path = string.Empty;
    private readonly Lazy<string> fingerprint;
    private readonly Lazy<ChannelStatistics> statistics;
    private readonly ImageStore? whole;
    private readonly int[]? members;
    private byte* mapped;
    private long looked;
    private bool disposed;

    private ImageStore(PackHeader header, int[] labels, byte[]? memory, FileStream? file, string path)
    {
        (Name, Split, Shape, Count, ClassNames) = (header.Name, header.Split, header.Shape, (int)header.Count, header.ClassNames);
        (this.header, this.labels, this.memory, this.file, this.path) = (header, labels, memory, file, path);
        if (file is not null)
        {
            mapping = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
            view = mapping.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            byte* start = null;
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            mapped = start + view.PointerOffset;
        }

        fingerprint = file is not null
            ? new Lazy<string>(ContentHash.Text(header.Fingerprint))
            : new Lazy<string>(ComputeFingerprint);
        statistics = new Lazy<ChannelStatistics>(() => (header.Sums ?? ComputeSums()).Over((long)Count * Shape.Height * Shape.Width, Shape.Channels));
    }

    private ImageStore(ImageStore whole, int[] members, string split)
    {
        (Name, Split, Shape, Count, ClassNames) = (whole.Name, split, whole.Shape, members.Length, whole.ClassNames);
        (this.whole, this.members) = (whole, members);
        labels = Array.ConvertAll(members, i => whole.labels[i]);
        fingerprint = new Lazy<string>(() => ContentHash.Part(whole.Fingerprint, members));
        statistics = whole.statistics;
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

    /// <summary>
    /// Mean and deviation of each channel, by exact sums: from the header of a pack, or computed on first use by all cores. Those of a part are
    /// the whole's.
    /// </summary>
    public ChannelStatistics Statistics => statistics.Value;

    /// <summary>Opens a pack of the cache, which is made first where it is missing or damaged.</summary>
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

    /// <summary>Opens a pack. Takes milliseconds whatever its size: header, lengths and labels are checked, pixels are not read.</summary>
    /// <exception cref="DataException">Missing, truncated or damaged.</exception>
    public static ImageStore Open(string path)
    {
        if (!Path.Exists(path))
        {
            throw new DataException($"There is no dataset pack '{path}'. Import the dataset first (sslr data import NAME SOURCE).");
        }

        if (RegularFile.Problem(path) is { } problem)
        {
            throw new DataException($"'{path}' is no dataset pack: {problem}. Remove it and import the dataset again.");
        }

        FileStream? file = null;
        try
        {
            file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 0);
            var header = PackHeader.Read(file, path);
            var labels = new int[header.Count];
            file.Position = header.LabelOffset;
            file.ReadExactly(MemoryMarshal.AsBytes(labels.AsSpan()));
            CheckLabels(labels, header.ClassNames.Count, path);
            return new ImageStore(header, labels, null, file, path);
        }
        catch (Exception e)
        {
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
        return new ImageStore(new PackHeader(labels.Length, shape, name, split, [.. classNames], new byte[32], null), labels, pixels, null, string.Empty);
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
    /// <exception cref="DataException">The file was cut since it was opened.</exception>
    public ReadOnlySpan<byte> Pixels(long index)
    {
        if ((ulong)index >= (ulong)Count || disposed)
        {
            Refuse(index);
        }

        return whole is not null ? whole.Pixels(members![index]) : Images(index, 1);
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
        for (long i = 0; i < Count; i += BlockImages)
        {
            hash.Pixels(Images(i, (int)Math.Min(BlockImages, Count - i)));
        }

        return ContentHash.Text(hash.Finish(labels, Shape, ClassNames));
    }

    /// <summary>Reads everything and compares it with what the header says.</summary>
    /// <exception cref="DataException">It was damaged after the import.</exception>
    internal void Verify()
    {
        var actual = ComputeFingerprint();
        if (actual != Fingerprint)
        {
            throw Damage($"its content has SHA-256 {actual}, its header says {Fingerprint}");
        }

        if (header!.Sums is { } sums && !sums.Equal(ComputeSums()))
        {
            throw Damage("the sums of its channels are not those that its header says");
        }

        CheckGap(header.HeaderBytes, header.PixelOffset);
        CheckGap(header.PixelOffset + ((long)Count * Shape.Bytes), header.LabelOffset);
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
            mapping!.Dispose();
            file!.Dispose();
        }
    }

    private int BlockImages => Math.Max(1, BlockBytes / Shape.Bytes);

    /// <summary>Several images of a store that is no part, one after the other.</summary>
    private ReadOnlySpan<byte> Images(long first, int count)
    {
        var bytes = Shape.Bytes;
        if (memory is not null)
        {
            return memory.AsSpan((int)first * bytes, count * bytes);
        }

        // Two threads may both look: neither is misled.
        var now = Environment.TickCount64;
        if (now != looked)
        {
            CheckLength();
            looked = now;
        }

        return new ReadOnlySpan<byte>(mapped + header!.PixelOffset + (first * bytes), count * bytes);
    }

    private void CheckLength()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        var length = RandomAccess.GetLength(file!.SafeFileHandle);
        if (length < header!.FileLength)
        {
            throw new DataException(
                $"'{path}' has {length} bytes where its header says {header.FileLength}: it was cut while it was in use. Import the dataset again.");
        }
    }

    private ChannelSums ComputeSums()
    {
        var all = new ChannelSums();
        var blocks = (int)(((long)Count + BlockImages - 1) / BlockImages);
        try
        {
            Parallel.For(
                0,
                blocks,
                static () => new ChannelSums(),
                (block, _, sums) =>
                {
                    var first = (long)block * BlockImages;
                    sums.Add(Images(first, (int)Math.Min(BlockImages, Count - first)), Shape.Channels);
                    return sums;
                },
                sums =>
                {
                    lock (all)
                    {
                        all.Add(sums);
                    }
                });
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        return all;
    }

    private void CheckGap(long from, long to)
    {
        CheckLength();
        if (new ReadOnlySpan<byte>(mapped + from, (int)(to - from)).ContainsAnyExcept((byte)0))
        {
            throw Damage($"there are bytes between its parts, from {from} to {to}");
        }
    }

    private DataException Damage(string what) => new($"'{path}' is damaged: {what}. Delete it and import the dataset again.");

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

using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>
/// Writes one pack, image after image, under a temporary name beside the final one.
/// Only <see cref="Complete"/> gives it the final name; disposed before that, it leaves nothing behind.
/// </summary>
public sealed class PackWriter : IDisposable
{
    private readonly string path;
    private readonly string temporary;
    private readonly string name;
    private readonly string split;
    private readonly ImageShape shape;
    private readonly IReadOnlyList<string> classNames;
    private readonly List<int> labels = [];
    private readonly ContentHash hash = new();
    private readonly ChannelSums sums = new();
    private readonly FileStream stream;
    private bool moved;

    /// <summary>Starts a pack that will be at <paramref name="path"/>; creates the folder.</summary>
    /// <exception cref="DataException">No pack holds images of this shape, or a class of this name.</exception>
    public PackWriter(string path, string name, string split, ImageShape shape, IReadOnlyList<string> classNames)
    {
        this.path = Path.GetFullPath(path);
        (this.name, this.split, this.shape, this.classNames) = (name, split, shape, classNames);
        if (PackHeader.Problem(shape) is { } problem)
        {
            throw new DataException($"'{name}' ({split}) cannot be stored: {problem}. Give a smaller --resize.");
        }

        // The fingerprint holds the names line by line.
        if (classNames.FirstOrDefault(static c => c.Contains('\n', StringComparison.Ordinal)) is { } broken)
        {
            throw new DataException($"The class name '{broken.Replace('\n', ' ')}' of '{name}' ({split}) has a line break. Rename its folder.");
        }

        var folder = Path.GetDirectoryName(this.path)!;
        Directory.CreateDirectory(folder);
        Leftovers.Remove(folder);
        temporary = Path.Combine(folder, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}{Leftovers.Extension}");
        stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20);
        stream.Position = Header(0, new byte[32]).PixelOffset;
    }

    /// <summary>Images written so far.</summary>
    public int Count => labels.Count;

    /// <summary>Appends one image.</summary>
    /// <param name="pixels">(H, W, C) uint8.</param>
    /// <param name="label">Class, or -1 for none.</param>
    /// <exception cref="DataException">The label is no class.</exception>
    public void Add(ReadOnlySpan<byte> pixels, int label)
    {
        if (pixels.Length != shape.Bytes)
        {
            throw new ArgumentException($"Image {Count} has {pixels.Length} bytes, expected {shape.Bytes} ({shape}).", nameof(pixels));
        }

        AddBlock(pixels, [label]);
    }

    /// <summary>Appends several images that lie one after the other.</summary>
    public void AddBlock(ReadOnlySpan<byte> pixels, ReadOnlySpan<int> blockLabels)
    {
        if (pixels.Length != (long)shape.Bytes * blockLabels.Length)
        {
            throw new ArgumentException($"{blockLabels.Length} images have {pixels.Length} bytes, expected {shape.Bytes} each ({shape}).", nameof(pixels));
        }

        foreach (var label in blockLabels)
        {
            if (label < -1 || label >= classNames.Count)
            {
                throw new DataException(
                    $"Image {Count} of '{name}' ({split}) has label {label}, but there are {classNames.Count} classes (0 to {classNames.Count - 1}). Correct the labels in the source.");
            }

            labels.Add(label);
        }

        hash.Pixels(pixels);
        sums.Add(pixels, shape.Channels);
        stream.Write(pixels);
    }

    /// <summary>Writes labels and header, flushes to the disk, renames. An older pack of that name is replaced.</summary>
    /// <returns>The fingerprint.</returns>
    public string Complete()
    {
        Seal();
        Move();
        return Fingerprint!;
    }

    /// <summary>Fingerprint, once sealed.</summary>
    internal string? Fingerprint { get; private set; }

    /// <summary>Everything of <see cref="Complete"/> but the renaming, so that several splits can appear together.</summary>
    internal void Seal()
    {
        if (Count == 0)
        {
            throw new DataException($"'{name}' ({split}) has no images. Check the source.");
        }

        var all = CollectionsMarshal.AsSpan(labels);
        var fingerprint = hash.Finish(all, shape, classNames);
        var header = Header(Count, fingerprint);
        stream.Position = header.LabelOffset;
        stream.Write(MemoryMarshal.AsBytes(all));
        stream.Position = 0;
        stream.Write(header.ToBytes());
        stream.Flush(flushToDisk: true);
        stream.Dispose();
        Fingerprint = ContentHash.Text(fingerprint);
    }

    internal void Move()
    {
        File.Move(temporary, path, overwrite: true);
        moved = true;
    }

    /// <summary>Removes the temporary file unless the pack is complete.</summary>
    public void Dispose()
    {
        stream.Dispose();
        hash.Dispose();
        if (!moved)
        {
            File.Delete(temporary);
        }
    }

    private PackHeader Header(long count, byte[] fingerprint) => new(count, shape, name, split, classNames, fingerprint, sums);
}

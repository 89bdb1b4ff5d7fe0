namespace SslResearch.Core.Augment;

/// <summary>The raw memory behind one batch's tensors.</summary>
/// <param name="pointers">First element of each buffer, in the order of <see cref="IAugmenter{TViews}.Buffers"/>.</param>
/// <param name="buffers">Their descriptions.</param>
public sealed unsafe class BatchMemory(IntPtr[] pointers, IReadOnlyList<BufferSpec> buffers)
{
    /// <summary>Images in this batch; the last one of an epoch may hold fewer than the others.</summary>
    public int Count { get; set; }

    /// <summary>Row of view <paramref name="view"/> of the image at <paramref name="slot"/>.</summary>
    public Span<T> Row<T>(int buffer, int view, int slot)
        where T : unmanaged
    {
        var elements = (int)buffers[buffer].RowElements;
        return new Span<T>((T*)pointers[buffer] + ((((long)view * Count) + slot) * elements), elements);
    }
}

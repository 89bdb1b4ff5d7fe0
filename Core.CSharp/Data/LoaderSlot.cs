using SslResearch.Core.Augment;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Data;

/// <summary>The memory of one batch, allocated once: host tensors (pinned for CUDA) and, for CUDA, their twins on the device.</summary>
/// <typeparam name="TViews">The batch type.</typeparam>
internal sealed class LoaderSlot<TViews> : IDisposable
    where TViews : class, IViews
{
    private readonly IAugmenter<TViews> augmenter;
    private readonly int batchSize;
    private readonly Tensor[] host;
    private readonly Tensor[] shown;
    private readonly Tensor? arrived, stamp;
    private readonly TViews whole;
    private readonly List<Tensor> parts = [];

    public LoaderSlot(IAugmenter<TViews> augmenter, int batchSize, Device device)
    {
        this.augmenter = augmenter;
        this.batchSize = batchSize;
        var cuda = device.type == DeviceType.CUDA;
        Indices = new int[batchSize];
        host = [.. augmenter.Buffers.Select(b => Owned(Allocate(b, batchSize, CPU, cuda)))];
        shown = cuda ? [.. augmenter.Buffers.Select(b => Owned(Allocate(b, batchSize, device, false)))] : host;
        if (cuda)
        {
            arrived = Owned(zeros(1, ScalarType.Int64).pin_memory());
            stamp = Owned(ones(1, ScalarType.Int64, device));
        }

        Memory = new BatchMemory([.. host.Select(Aten.DataPointer)], augmenter.Buffers);
        whole = augmenter.Assemble(shown);
    }

    public BatchMemory Memory { get; }

    /// <summary>Images of the batch; the first <see cref="Count"/> are meant.</summary>
    public int[] Indices { get; }

    public int Count { get; set; }

    public long Step { get; set; } = -1;

    public int Epoch { get; set; }

    /// <summary>Images that no worker has taken yet start here.</summary>
    public int NextImage { get; set; }

    /// <summary>Images that are not finished.</summary>
    public int Unfinished { get; set; }

    /// <summary>The failure of the image that stands first in the batch.</summary>
    public Exception? Failure { get; set; }

    public int FailedImage { get; set; }

    /// <summary>The filled batch, on its device. On CUDA the copies are only queued.</summary>
    public TViews Show()
    {
        if (Count == batchSize)
        {
            Copy(host, shown);
            return whole;
        }

        var counts = augmenter.Buffers.Select(b => (long)b.RowsPerImage * Count);
        Tensor[] fronts = [.. shown.Zip(counts, (t, n) => Owned(t.narrow(0, 0, n)))];
        parts.AddRange(fronts);
        if (shown != host)
        {
            Tensor[] sources = [.. host.Zip(counts, (t, n) => Owned(t.narrow(0, 0, n)))];
            parts.AddRange(sources);
            Copy(sources, fronts);
        }

        return augmenter.Assemble(fronts);
    }

    /// <summary>Ends the use of a shown batch: the host memory may be written again.</summary>
    public void Release()
    {
        if (arrived is not null)
        {
            // The mark was queued behind the copies on the same stream: once it is here, they have read the host memory.
            var spin = default(SpinWait);
            while (Volatile.Read(ref System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(arrived.bytes)[0]) == 0)
            {
                spin.SpinOnce();
            }
        }

        foreach (var part in parts)
        {
            part.Dispose();
        }

        parts.Clear();
    }

    public void Dispose()
    {
        foreach (var tensor in parts.Concat(host).Concat(shown == host ? [] : shown).Append(arrived).Append(stamp))
        {
            tensor?.Dispose();
        }
    }

    private static Tensor Allocate(BufferSpec spec, int batchSize, Device device, bool pinned)
    {
        long[] shape = [(long)spec.RowsPerImage * batchSize, .. spec.RowShape];
        using var scope = NewDisposeScope();
        var tensor = zeros(shape, spec.Type, device);
        return (pinned ? tensor.pin_memory() : tensor).MoveToOuterDisposeScope();
    }

    private static Tensor Owned(Tensor tensor) => tensor.DetachFromDisposeScope();

    private void Copy(Tensor[] from, Tensor[] to)
    {
        if (arrived is null)
        {
            return;
        }

        using var noGrad = no_grad();
        for (var i = 0; i < from.Length; i++)
        {
            to[i].copy_(from[i], true);
        }

        System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(arrived.bytes)[0] = 0;
        arrived.copy_(stamp!, true);
    }
}

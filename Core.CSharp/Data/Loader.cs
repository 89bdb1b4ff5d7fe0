using System.Diagnostics;
using SslResearch.Core.Augment;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Data;

/// <summary>
/// Endless batches of views, rendered ahead by its own threads into memory that is allocated once. What batch s holds is a function of the
/// store, the augmenter, the seed, the batch size and drop-last alone: workers, prefetch and where reading began make no difference.
/// Each epoch is a permutation of the images; the order is drawn anew per epoch.
/// One consumer: <see cref="Next"/> and <see cref="Seek"/> are not to be called from two threads at once.
/// </summary>
/// <typeparam name="TViews">The batch type.</typeparam>
public sealed class Loader<TViews> : IDisposable
    where TViews : class, IViews
{
    private const int LargestShare = 16;

    private readonly ImageStore store;
    private readonly IAugmenter<TViews> augmenter;
    private readonly LoaderOptions options;
    private readonly LoaderSlot<TViews>[] slots;
    private readonly Thread[] threads;
    private readonly object gate = new();
    private readonly int[] order;
    private readonly int share;
    private int orderEpoch = -1;
    private long opened, next;
    private LoaderSlot<TViews>? filling, held;
    private int rendering;
    private bool stopped, paused;
    private TimeSpan waited;

    /// <summary>Allocates the memory and starts the workers, which begin at step 0.</summary>
    /// <param name="store">Images; must outlive the loader.</param>
    /// <param name="augmenter">What to make of them.</param>
    /// <param name="options">Sizes.</param>
    /// <param name="device">Where batches are needed.</param>
    /// <param name="firstStep">Step to begin with.</param>
    /// <exception cref="ArgumentException">Sizes that cannot work.</exception>
    public Loader(ImageStore store, IAugmenter<TViews> augmenter, LoaderOptions options, torch.Device device, long firstStep = 0)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(augmenter);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.BatchSize, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(options.Workers, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Prefetch, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(firstStep);
        (this.store, this.augmenter, this.options) = (store, augmenter, options);
        StepsPerEpoch = options.DropLast ? store.Count / options.BatchSize : (int)(((long)store.Count + options.BatchSize - 1) / options.BatchSize);
        if (StepsPerEpoch == 0)
        {
            throw new ArgumentException(
                $"'{store.Name}' has {store.Count} images: no batch of {options.BatchSize} can be filled. Use a smaller batch.", nameof(options));
        }

        order = new int[store.Count];
        share = Math.Clamp(options.BatchSize / (4 * Math.Max(1, options.Workers)), 1, LargestShare);
        slots = [.. Enumerable.Range(0, options.Workers == 0 ? 1 : options.Prefetch + 1).Select(_ => new LoaderSlot<TViews>(augmenter, options.BatchSize, device))];
        next = opened = firstStep;
        threads = [.. Enumerable.Range(0, options.Workers).Select(i => new Thread(Work) { IsBackground = true, Name = $"loader {i}" })];
        foreach (var thread in threads)
        {
            thread.Start();
        }
    }

    /// <summary>Batches in one epoch.</summary>
    public int StepsPerEpoch { get; }

    /// <summary>Time that the consumer spent in <see cref="Next"/> waiting for a batch; with no workers, rendering it.</summary>
    public TimeSpan Waited => waited;

    /// <summary>The next batch; the one before it ends here.</summary>
    /// <exception cref="LoaderException">An image of the batch could not be rendered. The same batch fails again until <see cref="Seek"/>.</exception>
    /// <exception cref="ObjectDisposedException">The loader was disposed, perhaps while this call waited.</exception>
    public LoadedBatch<TViews> Next()
    {
        LoaderSlot<TViews> slot;
        lock (gate)
        {
            Release();
        }

        var begin = Stopwatch.GetTimestamp();
        lock (gate)
        {
            slot = slots[next % slots.Length];
            if (threads.Length == 0)
            {
                RenderHere(slot);
            }

            while (!stopped && !(slot.Step == next && slot.Unfinished == 0))
            {
                Monitor.Wait(gate);
            }

            waited += Stopwatch.GetElapsedTime(begin);
            ObjectDisposedException.ThrowIf(stopped, this);
            if (slot.Failure is { } failure)
            {
                throw new LoaderException(
                    slot.FailedImage,
                    $"Image {slot.FailedImage} of '{store.Name}' ({store.Split}), in step {slot.Step}, could not be turned into views: {failure.Message}",
                    failure);
            }

            held = slot;
            next++;
        }

        return new LoadedBatch<TViews>(slot.Step, slot.Epoch, slot.Show(), slot.Indices.AsMemory(0, slot.Count));
    }

    /// <summary>Makes <paramref name="step"/> (from the start of the training) the next batch; what was rendered ahead is thrown away.</summary>
    public void Seek(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(stopped, this);
            Release();
            paused = true;
            while (rendering > 0)
            {
                Monitor.Wait(gate);
            }

            foreach (var slot in slots)
            {
                slot.Step = -1;
                slot.Failure = null;
            }

            filling = null;
            next = opened = step;
            paused = false;
            Monitor.PulseAll(gate);
        }
    }

    /// <summary>Stops the workers after the image that each is at, and frees the memory of every batch.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            if (stopped)
            {
                return;
            }

            stopped = true;
            Monitor.PulseAll(gate);
        }

        foreach (var thread in threads)
        {
            thread.Join();
        }

        held?.Release();
        foreach (var slot in slots)
        {
            slot.Dispose();
        }
    }

    private void Release()
    {
        ObjectDisposedException.ThrowIf(stopped, this);
        if (held is not null)
        {
            held.Release();
            held.Step = -1;
            held = null;
            Monitor.PulseAll(gate);
        }
    }

    private void RenderHere(LoaderSlot<TViews> slot)
    {
        if (slot.Step != next)
        {
            Open(slot, next);
            for (var i = 0; i < slot.Count && slot.Failure is null; i++)
            {
                Render(slot, i);
            }

            slot.Unfinished = 0;
        }
    }

    private void Work()
    {
        while (true)
        {
            LoaderSlot<TViews> slot;
            int from, to;
            lock (gate)
            {
                while (!stopped && (paused || !TryOpen()))
                {
                    Monitor.Wait(gate);
                }

                if (stopped)
                {
                    return;
                }

                slot = filling!;
                from = slot.NextImage;
                to = Math.Min(from + share, slot.Count);
                slot.NextImage = to;
                rendering++;
            }

            for (var i = from; i < to && !Volatile.Read(ref stopped); i++)
            {
                Render(slot, i);
            }

            lock (gate)
            {
                rendering--;
                slot.Unfinished -= to - from;
                if (slot.Unfinished == 0 || paused)
                {
                    Monitor.PulseAll(gate);
                }
            }
        }
    }

    /// <summary>Under the gate: a slot with images to take, opening the next batch where its slot is free.</summary>
    private bool TryOpen()
    {
        if (filling is not null && filling.NextImage < filling.Count)
        {
            return true;
        }

        var oldest = held?.Step ?? next;
        if (opened - oldest >= slots.Length)
        {
            return false;
        }

        filling = slots[opened % slots.Length];
        Open(filling, opened);
        opened++;
        Monitor.PulseAll(gate);
        return true;
    }

    private void Open(LoaderSlot<TViews> slot, long step)
    {
        var epoch = checked((int)(step / StepsPerEpoch));
        var first = (int)(step % StepsPerEpoch) * options.BatchSize;
        if (epoch != orderEpoch)
        {
            new Philox(options.Seed, RandomPurpose.Order, (uint)epoch).Permutation(order);
            orderEpoch = epoch;
        }

        slot.Step = step;
        slot.Epoch = epoch;
        slot.Count = Math.Min(options.BatchSize, order.Length - first);
        slot.NextImage = 0;
        slot.Unfinished = slot.Count;
        slot.Failure = null;
        slot.Memory.Count = slot.Count;
        order.AsSpan(first, slot.Count).CopyTo(slot.Indices);
    }

    private void Render(LoaderSlot<TViews> slot, int place)
    {
        var index = slot.Indices[place];
        try
        {
            var sample = new Sample
            {
                Pixels = store.Pixels(index),
                Label = store.Label(index),
                Seed = options.Seed,
                Epoch = slot.Epoch,
                Index = index,
                Slot = place,
            };
            augmenter.Render(sample, slot.Memory);
        }
#pragma warning disable CA1031 // Whatever an augmenter throws belongs to the consumer, not to this thread.
        catch (Exception e)
#pragma warning restore CA1031
        {
            lock (gate)
            {
                if (slot.Failure is null || place < Array.IndexOf(slot.Indices, slot.FailedImage))
                {
                    slot.Failure = e;
                    slot.FailedImage = index;
                }
            }
        }
    }
}

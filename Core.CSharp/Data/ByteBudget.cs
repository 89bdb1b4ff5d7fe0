namespace SslResearch.Core.Data;

/// <summary>A number of bytes that several threads share: who wants more than is left waits.</summary>
/// <param name="total">Bytes in all.</param>
internal sealed class ByteBudget(long total)
{
    private readonly object gate = new();
    private long taken;

    /// <summary>Bytes in all.</summary>
    public long Total => total;

    /// <summary>Takes bytes as soon as there are so many. No thread may hold some of a budget while it waits for more of it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">More than there will ever be.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while waiting.</exception>
    public void Take(long bytes, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, total);
        using var wake = cancel.UnsafeRegister(static o => ((ByteBudget)o!).Wake(), this);
        lock (gate)
        {
            while (taken > total - bytes)
            {
                cancel.ThrowIfCancellationRequested();
                Monitor.Wait(gate);
            }

            taken += bytes;
        }
    }

    /// <summary>Gives back what was taken.</summary>
    public void Give(long bytes)
    {
        lock (gate)
        {
            taken -= bytes;
            Monitor.PulseAll(gate);
        }
    }

    private void Wake()
    {
        lock (gate)
        {
            Monitor.PulseAll(gate);
        }
    }
}

using System.Runtime.InteropServices;

namespace SslResearch.Core.Data;

/// <summary>
/// Bytes outside the managed heap, counted against a budget: freed at once when disposed, where large arrays would wait for a collection.
/// </summary>
internal sealed unsafe class NativeBytes : IDisposable
{
    private readonly ByteBudget budget;
    private readonly long charge;
    private byte* start;

    /// <summary>Waits for the budget, then allocates.</summary>
    /// <param name="length">Bytes, at most <see cref="int.MaxValue"/>; not cleared.</param>
    /// <param name="extra">Bytes that its owner will need beside these for as long as it lives.</param>
    /// <param name="budget">Pays for both.</param>
    /// <param name="cancel">Ends the waiting.</param>
    public NativeBytes(long length, long extra, ByteBudget budget, CancellationToken cancel)
    {
        Length = checked((int)length);
        (charge, this.budget) = (length + extra, budget);
        budget.Take(charge, cancel);
        try
        {
            start = (byte*)NativeMemory.Alloc((nuint)Math.Max(1, length));
        }
        catch
        {
            budget.Give(charge);
            throw;
        }
    }

    public int Length { get; }

    public IntPtr Start => start is null ? throw new ObjectDisposedException(nameof(NativeBytes)) : (IntPtr)start;

    public Span<byte> Span => new((byte*)Start, Length);

    public void Dispose()
    {
        if (start is not null)
        {
            NativeMemory.Free(start);
            start = null;
            budget.Give(charge);
        }
    }
}

namespace SslResearch.Core.Data;

/// <summary>Sums of the values of each channel, and of their squares: whole numbers, so that order and threads make no difference.</summary>
internal sealed class ChannelSums
{
    /// <summary>Most channels.</summary>
    public const int Channels = 4;

    /// <summary>Of values, by channel; 0 beyond the last.</summary>
    public ulong[] Values { get; } = new ulong[Channels];

    /// <summary>Of squares, by channel; 0 beyond the last.</summary>
    public ulong[] Squares { get; } = new ulong[Channels];

    /// <summary>Adds whole pixels.</summary>
    /// <param name="pixels">(n, C) uint8.</param>
    /// <param name="channels">C.</param>
    public void Add(ReadOnlySpan<byte> pixels, int channels)
    {
        // So many values that neither sum of a part passes 32 bits.
        const int part = 1 << 16;
        for (var from = 0; from < pixels.Length; from += part * channels)
        {
            var some = pixels.Slice(from, Math.Min(part * channels, pixels.Length - from));
            for (var c = 0; c < channels; c++)
            {
                uint sum = 0, squares = 0;
                for (var i = c; i < some.Length; i += channels)
                {
                    uint value = some[i];
                    sum += value;
                    squares += value * value;
                }

                Values[c] += sum;
                Squares[c] += squares;
            }
        }
    }

    /// <summary>Adds another's sums.</summary>
    public void Add(ChannelSums other)
    {
        for (var c = 0; c < Channels; c++)
        {
            Values[c] += other.Values[c];
            Squares[c] += other.Squares[c];
        }
    }

    /// <summary>Whether all sums are equal.</summary>
    public bool Equal(ChannelSums other) => Values.AsSpan().SequenceEqual(other.Values) && Squares.AsSpan().SequenceEqual(other.Squares);

    /// <summary>Means and deviations.</summary>
    /// <param name="pixels">N·H·W.</param>
    /// <param name="channels">C.</param>
    public ChannelStatistics Over(long pixels, int channels)
    {
        // n·Σx² − (Σx)² in whole numbers: nothing cancels.
        var (n, scale) = ((UInt128)pixels, (double)pixels * byte.MaxValue);
        return new ChannelStatistics(
            [.. Values.Take(channels).Select(sum => sum / scale)],
            [.. Enumerable.Range(0, channels).Select(c => Math.Sqrt((double)((n * Squares[c]) - ((UInt128)Values[c] * Values[c]))) / scale)]);
    }
}

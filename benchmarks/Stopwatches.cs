using System.Diagnostics;

namespace SslResearch.Benchmarks;

/// <summary>The same way of measuring as <c>measure</c> in peer/common.py: a warm-up, then windows of equal length.</summary>
internal static class Stopwatches
{
    private const double WarmUpSeconds = 2;
    private const int WindowCount = 5;

    /// <param name="step">Handles <paramref name="count"/> things.</param>
    /// <param name="unit">Of the rate, things per second.</param>
    /// <param name="count">Things in one step.</param>
    /// <param name="seconds">Time to measure, after the warm-up.</param>
    public static Measurement Measure(Action step, string unit, int count, double seconds)
    {
        for (var begin = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(begin).TotalSeconds < WarmUpSeconds;)
        {
            step();
        }

        var rates = new double[WindowCount];
        for (var i = 0; i < rates.Length; i++)
        {
            var begin = Stopwatch.GetTimestamp();
            long done = 0;
            double spent;
            do
            {
                step();
                done += count;
                spent = Stopwatch.GetElapsedTime(begin).TotalSeconds;
            }
            while (spent < seconds / WindowCount);
            rates[i] = done / spent;
        }

        return Measurement.Of(unit, rates);
    }
}

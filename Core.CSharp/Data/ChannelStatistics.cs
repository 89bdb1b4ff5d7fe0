namespace SslResearch.Core.Data;

/// <summary>Mean and standard deviation of each channel over all pixels of a split, for values scaled to 0 … 1.</summary>
/// <param name="Mean">(C).</param>
/// <param name="Deviation">(C), of the population: no degree of freedom is taken off.</param>
public sealed record ChannelStatistics(IReadOnlyList<double> Mean, IReadOnlyList<double> Deviation);

namespace SslResearch.Core.Augment;

/// <summary>(v - mean) / std per channel, on values scaled to [0, 1].</summary>
/// <param name="Mean">One value per channel.</param>
/// <param name="Std">One value per channel, above 0.</param>
public sealed record ChannelNormalisation(IReadOnlyList<float> Mean, IReadOnlyList<float> Std);

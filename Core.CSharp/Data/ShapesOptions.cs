namespace SslResearch.Core.Data;

/// <summary>Which procedural images.</summary>
/// <param name="Count">How many. Image i is the same for every count.</param>
/// <param name="Size">Side in pixels, 8 to 1024.</param>
/// <param name="Seed">Seed of all images.</param>
/// <param name="Split">Name of the split; splits share no image.</param>
/// <param name="Statistics">What goes with what.</param>
public sealed record ShapesOptions(int Count, int Size, ulong Seed, string Split, ShapesStatistics Statistics = ShapesStatistics.Independent);

namespace SslResearch.Core.Data;

/// <summary>Which procedural clips.</summary>
/// <param name="Count">How many. Clip i is the same for every count.</param>
/// <param name="Size">Side of a frame in pixels, 8 to 1024.</param>
/// <param name="Frames">T: frames of a clip, at least 2. A longer clip begins with the shorter one.</param>
/// <param name="Seed">Seed of all clips.</param>
/// <param name="Split">Name of the split; splits share no clip.</param>
/// <param name="Statistics">What goes with what.</param>
public sealed record ShapesClipsOptions(
    int Count, int Size, int Frames, ulong Seed, string Split, ShapesStatistics Statistics = ShapesStatistics.Independent);

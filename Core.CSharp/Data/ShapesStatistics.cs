namespace SslResearch.Core.Data;

/// <summary>How class, colour, surface and surroundings of procedural images hang together.</summary>
public enum ShapesStatistics
{
    /// <summary>Not at all: each is drawn on its own, so that the outline alone tells the class.</summary>
    Independent,

    /// <summary>As in photographs: a class has a colour, a surface and surroundings that are typical of it, each with a probability of one half.</summary>
    Natural,
}

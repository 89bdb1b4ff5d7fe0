namespace SslResearch.Core.Data;

/// <summary>How the surface of a shape is painted.</summary>
public enum ShapeTexture
{
    /// <summary>One colour.</summary>
    Plain,

    /// <summary>Two alternating tones.</summary>
    Striped,

    /// <summary>Dots of another tone.</summary>
    Dotted,
}

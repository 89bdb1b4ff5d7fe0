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

    /// <summary>A chessboard of two tones.</summary>
    Checked,

    /// <summary>Rings of two tones around the centre.</summary>
    Ringed,
}

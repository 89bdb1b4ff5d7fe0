namespace SslResearch.Core.Data;

/// <summary>What lies behind a shape, between two tones.</summary>
public enum ShapeBackground
{
    /// <summary>One tone.</summary>
    Plain,

    /// <summary>A run from one tone to the other.</summary>
    Shaded,

    /// <summary>Soft stripes.</summary>
    Striped,

    /// <summary>Soft blotches.</summary>
    Mottled,

    /// <summary>A chessboard.</summary>
    Checked,

    /// <summary>Small dots.</summary>
    Speckled,
}

namespace SslResearch.Core.Data;

/// <summary>The ten classes of the procedural dataset; the value is the label.</summary>
public enum ShapeKind
{
    /// <summary>Filled circle.</summary>
    Disc,

    /// <summary>Circle with a hole.</summary>
    Ring,

    /// <summary>Square.</summary>
    Square,

    /// <summary>Triangle, a corner up.</summary>
    Triangle,

    /// <summary>Five-pointed star.</summary>
    Star,

    /// <summary>Upright cross with equal arms.</summary>
    Cross,

    /// <summary>Crescent moon, open to one side.</summary>
    Crescent,

    /// <summary>Heart.</summary>
    Heart,

    /// <summary>Arrow to one side.</summary>
    Arrow,

    /// <summary>Two triangles that meet.</summary>
    Hourglass,
}

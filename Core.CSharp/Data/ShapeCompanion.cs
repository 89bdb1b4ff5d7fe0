namespace SslResearch.Core.Data;

/// <summary>
/// A second, smaller object of a scene: of the same class and surface, in another colour, partly behind the first where they meet. Lengths are
/// fractions of the image's side.
/// </summary>
public sealed record ShapeCompanion
{
    /// <summary>Centre, from the left.</summary>
    public required double X { get; init; }

    /// <summary>Centre, from the top.</summary>
    public required double Y { get; init; }

    /// <summary>Diameter of the circle around it.</summary>
    public required double Size { get; init; }

    /// <summary>Clockwise rotation out of the upright pose.</summary>
    public required double Rotation { get; init; }

    /// <summary>Left and right swapped before the rotation.</summary>
    public required bool Mirrored { get; init; }

    /// <summary>Main colour.</summary>
    public required NamedColour Colour { get; init; }
}

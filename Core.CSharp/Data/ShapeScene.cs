namespace SslResearch.Core.Data;

/// <summary>A colour with a name. Values in [0, 1], sRGB as stored.</summary>
public readonly record struct NamedColour(string Name, double Red, double Green, double Blue)
{
    /// <summary>ITU-R BT.601 luma, which is what grayscale conversion keeps.</summary>
    public double Luma => (0.299 * Red) + (0.587 * Green) + (0.114 * Blue);

    internal NamedColour Towards(NamedColour other, double t) =>
        new(Name, Red + (t * (other.Red - Red)), Green + (t * (other.Green - Green)), Blue + (t * (other.Blue - Blue)));

    internal NamedColour Scaled(double factor) =>
        new(Name, Math.Clamp(Red * factor, 0, 1), Math.Clamp(Green * factor, 0, 1), Math.Clamp(Blue * factor, 0, 1));
}

/// <summary>
/// Everything that one procedural image shows. Lengths are fractions of the image's side, x to the right, y down, angles in radians.
/// Rendering is a pure function of a scene and a size: a clip is a sequence of scenes that differ in pose (<see cref="WithPose"/>).
/// </summary>
public sealed record ShapeScene
{
    /// <summary>Class.</summary>
    public required ShapeKind Kind { get; init; }

    /// <summary>Centre, from the left.</summary>
    public required double X { get; init; }

    /// <summary>Centre, from the top.</summary>
    public required double Y { get; init; }

    /// <summary>Diameter of the circle around the shape.</summary>
    public required double Size { get; init; }

    /// <summary>Clockwise rotation out of the upright pose.</summary>
    public required double Rotation { get; init; }

    /// <summary>Width over height of the shape's own frame; the area stays the same.</summary>
    public required double Aspect { get; init; }

    /// <summary>Left and right swapped before the rotation.</summary>
    public required bool Mirrored { get; init; }

    /// <summary>Main colour.</summary>
    public required NamedColour Colour { get; init; }

    /// <summary>Surface.</summary>
    public required ShapeTexture Texture { get; init; }

    /// <summary>How far the second tone of the surface is from the main colour, 0 to 1, towards the background's opposite.</summary>
    public required double TextureStrength { get; init; }

    /// <summary>Brightness gained at the top edge of the shape and lost at its bottom edge, as a fraction.</summary>
    public required double Light { get; init; }

    /// <summary>A second object of the same class; null where there is one alone.</summary>
    public ShapeCompanion? Companion { get; init; }

    /// <summary>What lies behind.</summary>
    public required ShapeBackground Background { get; init; }

    /// <summary>First tone of the background.</summary>
    public required NamedColour BackgroundColour { get; init; }

    /// <summary>Second tone of the background.</summary>
    public required NamedColour BackgroundSecond { get; init; }

    /// <summary>Direction of the background's run or stripes.</summary>
    public required double BackgroundAngle { get; init; }

    /// <summary>Small fragments of other things between background and shape.</summary>
    public required int Fragments { get; init; }

    /// <summary>Standard deviation of the pixel noise, in units of the full range.</summary>
    public required double Noise { get; init; }

    /// <summary>Key of blotches, fragments and noise.</summary>
    public required ulong DetailKey { get; init; }

    /// <summary>Label: the class as a number.</summary>
    public int Label => (int)Kind;

    /// <summary>small, medium or large.</summary>
    public string SizeName => Size < 0.46 ? "small" : Size < 0.58 ? "medium" : "large";

    /// <summary>A sentence, for example "a small striped red star on a mottled background".</summary>
    public string Caption
    {
        get
        {
            var texture = Texture == ShapeTexture.Plain ? string.Empty : ShapesDataset.Name(Texture) + " ";
            var second = Companion is null ? string.Empty : $" and {(Companion.Colour.Name == "orange" ? "an" : "a")} {Companion.Colour.Name} one";
            return $"a {SizeName} {texture}{Colour.Name} {ShapesDataset.Name(Kind)}{second} on a {ShapesDataset.Name(Background)} background";
        }
    }

    /// <summary>The same scene without its second object.</summary>
    public ShapeScene Alone() => this with { Companion = null };

    /// <summary>The same scene with the shape elsewhere: the step of a motion.</summary>
    public ShapeScene WithPose(double x, double y, double rotation, double size) =>
        this with { X = x, Y = y, Rotation = rotation, Size = size };
}

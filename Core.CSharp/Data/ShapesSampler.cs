using System.Text;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Data;

/// <summary>Draws scenes: a pure function of (seed, split, index).</summary>
internal static class ShapesSampler
{
    /// <summary>Least difference in luma between shape and background, so that the silhouette survives loss of colour.</summary>
    private const double LeastContrast = 0.24;

    /// <summary>Distance that a shape's centre keeps from the borders, as a part of its size.</summary>
    internal const double Reach = 0.44;

    private static readonly NamedColour[] Palette =
    [
        new("red", 0.85, 0.14, 0.15),
        new("orange", 0.94, 0.55, 0.13),
        new("yellow", 0.94, 0.86, 0.22),
        new("green", 0.18, 0.62, 0.25),
        new("cyan", 0.22, 0.78, 0.80),
        new("blue", 0.15, 0.32, 0.85),
        new("purple", 0.52, 0.22, 0.72),
        new("pink", 0.95, 0.55, 0.72),
        new("brown", 0.48, 0.29, 0.14),
        new("white", 0.93, 0.93, 0.93),
        new("black", 0.08, 0.08, 0.08),
    ];

    /// <summary>How often a class has what is typical of it: its colour, its surface, its surroundings, each on its own.</summary>
    private const double TypicalPart = 0.5;

    private static readonly int Surfaces = Enum.GetValues<ShapeTexture>().Length;
    private static readonly int Backgrounds = Enum.GetValues<ShapeBackground>().Length;

    /// <summary>By label. No one of them tells the class: two classes share a colour, two a surface, about two a background.</summary>
    private static readonly (string Colour, ShapeTexture Surface, ShapeBackground Background)[] Typical =
    [
        ("yellow", ShapeTexture.Plain, ShapeBackground.Shaded), // disc
        ("white", ShapeTexture.Striped, ShapeBackground.Plain), // ring
        ("brown", ShapeTexture.Dotted, ShapeBackground.Speckled), // square
        ("green", ShapeTexture.Checked, ShapeBackground.Striped), // triangle
        ("blue", ShapeTexture.Ringed, ShapeBackground.Mottled), // star
        ("white", ShapeTexture.Dotted, ShapeBackground.Checked), // cross
        ("yellow", ShapeTexture.Ringed, ShapeBackground.Plain), // crescent
        ("brown", ShapeTexture.Plain, ShapeBackground.Checked), // heart
        ("blue", ShapeTexture.Checked, ShapeBackground.Speckled), // arrow
        ("green", ShapeTexture.Striped, ShapeBackground.Mottled), // hourglass
    ];

    /// <summary>Names of the colours a shape can have.</summary>
    public static IReadOnlyList<string> ColourNames { get; } = [.. Palette.Select(static c => c.Name)];

    public static ShapeScene Draw(ulong seed, string split, long index, ShapesStatistics statistics = ShapesStatistics.Independent)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        var g = new Philox(seed, RandomPurpose.Shapes, SplitCode(split), (uint)index);
        var kind = (ShapeKind)(index % ShapesDataset.ClassCount);
        var size = g.NextDouble(0.34, 0.70);
        var reach = size * Reach;
        var x = g.NextDouble(reach, 1 - reach);
        var y = g.NextDouble(reach, 1 - reach);
        var rotation = g.NextDouble(-0.35, 0.35);
        var aspect = g.NextDouble(0.8, 1.25);
        var mirrored = g.NextSingle() < 0.5f;
        var colour = Jittered(Palette[g.NextBelow((uint)Palette.Length)], ref g, 0.06);
        var (first, second) = BackgroundTones(colour, ref g);
        var texture = g.NextSingle() switch { < 0.6f => ShapeTexture.Plain, < 0.8f => ShapeTexture.Striped, _ => ShapeTexture.Dotted };
        var scene = new ShapeScene
        {
            Kind = kind,
            X = x,
            Y = y,
            Size = size,
            Rotation = rotation,
            Aspect = aspect,
            Mirrored = mirrored,
            Colour = colour,
            Texture = texture,
            TextureStrength = g.NextDouble(0.25, 0.5),
            Light = g.NextDouble(0.0, 0.22),
            Background = (ShapeBackground)g.NextBelow(4),
            BackgroundColour = first,
            BackgroundSecond = second,
            BackgroundAngle = g.NextDouble(0, 2 * Math.PI),
            Fragments = (int)g.NextBelow(5),
            Noise = g.NextDouble(0.01, 0.05),
            DetailKey = ((ulong)g.NextUInt32() << 32) | g.NextUInt32(),
        };
        return statistics == ShapesStatistics.Natural ? Natural(scene, ref g) : scene;
    }

    /// <summary>The scene with what is typical of its class, each by the toss of a coin, and with a second object.</summary>
    private static ShapeScene Natural(ShapeScene scene, ref Philox g)
    {
        var (name, surface, behind) = Typical[scene.Label];
        var colour = g.NextDouble() < TypicalPart ? Jittered(Palette.First(c => c.Name == name), ref g, 0.06) : scene.Colour;
        var texture = g.NextDouble() < TypicalPart ? surface : (ShapeTexture)g.NextBelow((uint)Surfaces);
        var background = g.NextDouble() < TypicalPart ? behind : (ShapeBackground)g.NextBelow((uint)Backgrounds);
        var (first, second) = BackgroundTones(colour, ref g);
        return scene with
        {
            Colour = colour,
            Texture = texture,
            Background = background,
            BackgroundColour = first,
            BackgroundSecond = second,
            Companion = Companion(scene, colour, first, second, ref g),
        };
    }

    /// <summary>A smaller object of the same class, where it shows best of a few places, in a colour that is another one and stands out.</summary>
    private static ShapeCompanion Companion(ShapeScene scene, NamedColour first, NamedColour tone, NamedColour other, ref Philox g)
    {
        var size = g.NextDouble(0.26, 0.40);
        var (x, y, away) = (0.0, 0.0, -1.0);
        for (var attempt = 0; attempt < 4; attempt++)
        {
            var (u, v) = (g.NextDouble(size * Reach, 1 - (size * Reach)), g.NextDouble(size * Reach, 1 - (size * Reach)));
            var distance = ((u - scene.X) * (u - scene.X)) + ((v - scene.Y) * (v - scene.Y));
            if (distance > away)
            {
                (x, y, away) = (u, v, distance);
            }
        }

        var colour = first;
        for (var attempt = 0; attempt < 24 && colour == first; attempt++)
        {
            var drawn = Jittered(AnyColour(ref g), ref g, 0.06);
            if (drawn.Name != first.Name && StandsOut(drawn, tone, other))
            {
                colour = drawn;
            }
        }

        return new ShapeCompanion
        {
            X = x,
            Y = y,
            Size = size,
            Rotation = g.NextDouble(-0.35, 0.35),
            Mirrored = g.NextSingle() < 0.5f,
            Colour = colour,
        };
    }

    /// <summary>Whether a colour's luma differs enough from both tones of a background, to the same side.</summary>
    private static bool StandsOut(NamedColour colour, NamedColour first, NamedColour second)
    {
        var (a, b) = (first.Luma - colour.Luma, second.Luma - colour.Luma);
        return Math.Abs(a) >= LeastContrast && Math.Abs(b) >= LeastContrast && a > 0 == b > 0;
    }

    internal static NamedColour AnyColour(ref Philox g) => Palette[g.NextBelow((uint)Palette.Length)];

    private static NamedColour Jittered(NamedColour c, ref Philox g, double by) => new(
        c.Name,
        Math.Clamp(c.Red + g.NextDouble(-by, by), 0, 1),
        Math.Clamp(c.Green + g.NextDouble(-by, by), 0, 1),
        Math.Clamp(c.Blue + g.NextDouble(-by, by), 0, 1));

    private static (NamedColour First, NamedColour Second) BackgroundTones(NamedColour shape, ref Philox g)
    {
        for (var attempt = 0; attempt < 24; attempt++)
        {
            var first = Muted(ref g);
            var second = first.Towards(Muted(ref g), 0.7);
            if (StandsOut(shape, first, second))
            {
                return (first, second);
            }
        }

        var far = shape.Luma < 0.5 ? 0.9 : 0.1;
        return (new NamedColour("grey", far, far, far), new NamedColour("grey", far, far, far));
    }

    private static NamedColour Muted(ref Philox g)
    {
        var level = g.NextDouble(0.05, 0.95);
        var grey = new NamedColour("grey", level, level, level);
        return grey.Towards(AnyColour(ref g), g.NextDouble(0.15, 0.6));
    }

    /// <summary>0 for train, 1 for test, the FNV-1a hash of the name with the top bit set otherwise.</summary>
    internal static uint SplitCode(string split)
    {
        if (split == "train")
        {
            return 0;
        }

        if (split == "test")
        {
            return 1;
        }

        var hash = 2166136261u;
        foreach (var b in Encoding.UTF8.GetBytes(split))
        {
            hash = (hash ^ b) * 16777619u;
        }

        return hash | 0x80000000u;
    }
}

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

    /// <summary>Names of the colours a shape can have.</summary>
    public static IReadOnlyList<string> ColourNames { get; } = [.. Palette.Select(static c => c.Name)];

    public static ShapeScene Draw(ulong seed, string split, long index)
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
        return new ShapeScene
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
            var a = first.Luma - shape.Luma;
            var b = second.Luma - shape.Luma;
            if (Math.Abs(a) >= LeastContrast && Math.Abs(b) >= LeastContrast && a > 0 == b > 0)
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

using SslResearch.Core.Runtime;

namespace SslResearch.Core.Data;

/// <summary>
/// Draws scenes. Pure: the same scene and size give the same bytes on every machine and any number of threads.
/// Edges are anti-aliased over one pixel by signed distance.
/// </summary>
public static class ShapesRenderer
{
    /// <summary>Changes whenever the same scene would look different; part of the name of cached packs.</summary>
    public const int Version = 2;

    private const int MostFragments = 8;
    private const int Lattice = 5;
    private const ushort DetailStream = 1;
    private const ushort NoiseStream = 2;

    // Sum of four uniform bytes: mean 510, standard deviation 147.8.
    private const double NoiseMean = 510;
    private const double NoiseScale = 1 / 147.8;

    /// <summary>An object: where it is, the height of its centre, its two tones.</summary>
    private readonly record struct Thing(Pose Pose, double Y, Tint Colour, Tint Tone);

    private readonly record struct Tint(double Red, double Green, double Blue)
    {
        public Tint(NamedColour colour)
            : this(colour.Red, colour.Green, colour.Blue)
        {
        }
    }

    private struct Fragment
    {
        public double X, Y, Sin, Cos, HalfWidth, HalfHeight, Reach, Red, Green, Blue;
    }

    /// <summary>The scene of one image of the dataset.</summary>
    /// <param name="seed">Seed of the dataset.</param>
    /// <param name="split">Split, for example <c>train</c>.</param>
    /// <param name="index">Position; the class is <c>index % 10</c>.</param>
    /// <param name="statistics">What goes with what.</param>
    public static ShapeScene Scene(ulong seed, string split, long index, ShapesStatistics statistics = ShapesStatistics.Independent) =>
        ShapesSampler.Draw(seed, split, index, statistics);

    /// <summary>Draws a scene.</summary>
    /// <param name="scene">What to draw.</param>
    /// <param name="size">Side in pixels.</param>
    /// <param name="pixels">(size, size, 3) uint8, overwritten.</param>
    public static void Render(ShapeScene scene, int size, Span<byte> pixels)
    {
        ArgumentNullException.ThrowIfNull(scene);
        CheckLength(pixels.Length, size * size * 3, nameof(pixels));
        var detail = new Philox(scene.DetailKey, RandomPurpose.Shapes, 0, 0, DetailStream);
        Span<double> lattice = stackalloc double[Lattice * Lattice];
        foreach (ref var value in lattice)
        {
            value = detail.NextDouble();
        }

        var phase = detail.NextDouble();
        var frequency = detail.NextDouble(2.5, 4.5);
        var texturePhase = detail.NextDouble();
        Span<Fragment> fragments = stackalloc Fragment[MostFragments];
        fragments = fragments[..Math.Min(scene.Fragments, MostFragments)];
        foreach (ref var fragment in fragments)
        {
            fragment = DrawFragment(scene, ref detail);
        }

        Span<Thing> things = stackalloc Thing[2];
        things = things[..Things(scene, things)];
        var (directionY, directionX) = ShapeMath.SinCos(scene.BackgroundAngle);
        var (first, second) = (scene.BackgroundColour, scene.BackgroundSecond);
        var noise = new Philox(scene.DetailKey, RandomPurpose.Shapes, 0, 0, NoiseStream);
        var noiseScale = scene.Noise * NoiseScale;
        var step = 1.0 / size;
        var at = 0;
        for (var row = 0; row < size; row++)
        {
            var v = (row + 0.5) * step;
            for (var column = 0; column < size; column++)
            {
                var u = (column + 0.5) * step;
                var t = scene.Background switch
                {
                    ShapeBackground.Plain => 0,
                    ShapeBackground.Shaded => Math.Clamp(0.5 + (0.7 * (((u - 0.5) * directionX) + ((v - 0.5) * directionY))), 0, 1),
                    ShapeBackground.Striped => Wave((((u * directionX) + (v * directionY)) * frequency) + phase),
                    ShapeBackground.Checked => Chess(
                        (((u * directionX) + (v * directionY)) * frequency) + phase, ((v * directionX) - (u * directionY)) * frequency),
                    ShapeBackground.Speckled => Dot(
                        (((u * directionX) + (v * directionY)) * 2 * frequency) + phase, ((v * directionX) - (u * directionY)) * 2 * frequency),
                    _ => Blotch(lattice, u, v),
                };
                var red = first.Red + (t * (second.Red - first.Red));
                var green = first.Green + (t * (second.Green - first.Green));
                var blue = first.Blue + (t * (second.Blue - first.Blue));
                foreach (ref readonly var f in fragments)
                {
                    double dx = u - f.X, dy = v - f.Y;
                    if (Math.Abs(dx) > f.Reach + step || Math.Abs(dy) > f.Reach + step)
                    {
                        continue;
                    }

                    var d = ShapeDistance.Box((dx * f.Cos) + (dy * f.Sin), (dy * f.Cos) - (dx * f.Sin), f.HalfWidth, f.HalfHeight);
                    var cover = Math.Clamp(0.5 - (d * size), 0, 1);
                    red += cover * (f.Red - red);
                    green += cover * (f.Green - green);
                    blue += cover * (f.Blue - blue);
                }

                foreach (ref readonly var thing in things)
                {
                    var inside = thing.Pose.Coverage(u, v, size, out var x, out var y);
                    if (inside > 0)
                    {
                        var surface = scene.Texture switch
                        {
                            ShapeTexture.Plain => 0,
                            ShapeTexture.Striped => Wave(((x + y) * 1.3) + texturePhase),
                            ShapeTexture.Checked => Chess((x * 1.4) + texturePhase, y * 1.4),
                            ShapeTexture.Ringed => Wave((Math.Sqrt((x * x) + (y * y)) * 2) + texturePhase),
                            _ => Dot((x * 1.7) + texturePhase, y * 1.7),
                        };
                        var light = 1 - (scene.Light * Math.Clamp((v - thing.Y) * thing.Pose.PerUnit, -1, 1));
                        red += inside * (Lit(thing.Colour.Red, thing.Tone.Red, surface, light) - red);
                        green += inside * (Lit(thing.Colour.Green, thing.Tone.Green, surface, light) - green);
                        blue += inside * (Lit(thing.Colour.Blue, thing.Tone.Blue, surface, light) - blue);
                    }
                }

                pixels[at] = ToByte(red + (Noise(ref noise) * noiseScale));
                pixels[at + 1] = ToByte(green + (Noise(ref noise) * noiseScale));
                pixels[at + 2] = ToByte(blue + (Noise(ref noise) * noiseScale));
                at += 3;
            }
        }
    }

    /// <summary>The foreground mask that belongs to <see cref="Render"/>.</summary>
    /// <param name="scene">What is drawn.</param>
    /// <param name="size">Side in pixels.</param>
    /// <param name="mask">(size, size) uint8, overwritten: the share of the pixel that the shape covers, 0 to 255.</param>
    public static void Mask(ShapeScene scene, int size, Span<byte> mask)
    {
        ArgumentNullException.ThrowIfNull(scene);
        CheckLength(mask.Length, size * size, nameof(mask));
        Span<Thing> things = stackalloc Thing[2];
        things = things[..Things(scene, things)];
        var step = 1.0 / size;
        for (var i = 0; i < mask.Length; i++)
        {
            var outside = 1.0;
            foreach (ref readonly var thing in things)
            {
                outside *= 1 - thing.Pose.Coverage(((i % size) + 0.5) * step, ((i / size) + 0.5) * step, size, out _, out _);
            }

            mask[i] = ToByte(1 - outside);
        }
    }

    /// <summary>The objects of a scene, the last one in front; how many.</summary>
    private static int Things(ShapeScene scene, Span<Thing> things)
    {
        var count = 0;
        if (scene.Companion is { } second)
        {
            var itsPose = new Pose(scene.Kind, second.X, second.Y, second.Size, second.Rotation, scene.Aspect, second.Mirrored);
            things[count++] = new Thing(itsPose, second.Y, new Tint(second.Colour), Tone(scene, second.Colour));
        }

        var pose = new Pose(scene.Kind, scene.X, scene.Y, scene.Size, scene.Rotation, scene.Aspect, scene.Mirrored);
        things[count++] = new Thing(pose, scene.Y, new Tint(scene.Colour), Tone(scene, scene.Colour));
        return count;
    }

    /// <summary>The second tone of a surface: away from the background.</summary>
    private static Tint Tone(ShapeScene scene, NamedColour colour)
    {
        var lighter = colour.Luma > 0.5 * (scene.BackgroundColour.Luma + scene.BackgroundSecond.Luma);
        return new Tint(colour.Towards(lighter ? new NamedColour("white", 1, 1, 1) : new NamedColour("black", 0, 0, 0), scene.TextureStrength));
    }

    private static Fragment DrawFragment(ShapeScene scene, ref Philox g)
    {
        var (sin, cos) = ShapeMath.SinCos(g.NextDouble(0, Math.PI));
        var half = g.NextDouble(0.04, 0.11);
        var other = g.NextDouble(0.02, 0.055);
        var colour = scene.BackgroundColour.Towards(ShapesSampler.AnyColour(ref g), g.NextDouble(0.3, 0.7));
        return new Fragment
        {
            X = g.NextDouble(),
            Y = g.NextDouble(),
            Sin = sin,
            Cos = cos,
            HalfWidth = half,
            HalfHeight = other,
            Reach = half + other,
            Red = colour.Red,
            Green = colour.Green,
            Blue = colour.Blue,
        };
    }

    private static double Lit(double colour, double tone, double t, double light) => (colour + (t * (tone - colour))) * light;

    private static double Noise(ref Philox g)
    {
        var bits = g.NextUInt32();
        return (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + (bits >> 24) - NoiseMean;
    }

    private static byte ToByte(double value) => (byte)(Math.Clamp((value * 255) + 0.5, 0, 255));

    private static double Wave(double phase)
    {
        var f = phase - Math.Floor(phase);
        return ShapeMath.Smooth(Math.Abs((2 * f) - 1));
    }

    /// <summary>0 and 1 by turns in fields of half a unit.</summary>
    private static double Chess(double x, double y)
    {
        var (fx, fy) = (x - Math.Floor(x) - 0.5, y - Math.Floor(y) - 0.5);
        return fx * fy > 0 ? 1 : 0;
    }

    private static double Dot(double x, double y)
    {
        var fx = x - Math.Floor(x) - 0.5;
        var fy = y - Math.Floor(y) - 0.5;
        return Math.Clamp((0.11 - ((fx * fx) + (fy * fy))) * 12, 0, 1);
    }

    private static double Blotch(ReadOnlySpan<double> lattice, double u, double v)
    {
        var x = u * (Lattice - 1);
        var y = v * (Lattice - 1);
        var (ix, iy) = ((int)x, (int)y);
        var tx = ShapeMath.Smooth(x - ix);
        var ty = ShapeMath.Smooth(y - iy);
        var i = (iy * Lattice) + ix;
        var top = lattice[i] + (tx * (lattice[i + 1] - lattice[i]));
        var bottom = lattice[i + Lattice] + (tx * (lattice[i + Lattice + 1] - lattice[i + Lattice]));
        return top + (ty * (bottom - top));
    }

    private static void CheckLength(int received, int expected, string parameter)
    {
        if (received != expected)
        {
            throw new ArgumentException($"Expected {expected} bytes, received {received}.", parameter);
        }
    }

    /// <summary>From image to shape coordinates.</summary>
    private readonly struct Pose
    {
        private readonly ShapeKind kind;
        private readonly double x, y, sin, cos, acrossX, acrossY, half;

        public Pose(ShapeKind kind, double x, double y, double size, double rotation, double aspect, bool mirrored)
        {
            (this.kind, this.x, this.y, half) = (kind, x, y, size / 2);
            (sin, cos) = ShapeMath.SinCos(rotation);
            var stretch = Math.Sqrt(aspect);
            acrossX = (mirrored ? -1 : 1) / stretch;
            acrossY = stretch;
            PerUnit = 1 / half;
        }

        public double PerUnit { get; }

        /// <summary>Share of the pixel around (u, v) that the shape covers, and the point in shape coordinates.</summary>
        public double Coverage(double u, double v, int size, out double localX, out double localY)
        {
            double dx = (u - x) * PerUnit, dy = (v - y) * PerUnit;
            localX = acrossX * ((dx * cos) + (dy * sin));
            localY = acrossY * ((dy * cos) - (dx * sin));

            // No silhouette reaches beyond 1.15 of its unit circle, before it is stretched; half a pixel more is blended.
            var limit = (1.15 * Math.Max(acrossY, 1 / acrossY)) + (PerUnit / size);
            return (dx * dx) + (dy * dy) > limit * limit
                ? 0
                : Math.Clamp(0.5 - (ShapeDistance.Of(kind, localX, localY) * half * size), 0, 1);
        }
    }
}

namespace SslResearch.Core.Runtime;

/// <summary>
/// sRGB (IEC 61966-2-1) to CIE 1976 L*a*b* under D65, number by number. The white is that of the matrix itself, so that grays have no chroma.
/// </summary>
public static class CieLab
{
    /// <summary>sRGB values up to this are linear: v/12.92; above ((v+0.055)/1.055)^2.4.</summary>
    public const double LinearUpTo = 0.04045;

    /// <summary>Slope of that linear part.</summary>
    public const double LinearSlope = 1 / 12.92;

    /// <summary>Added before the power.</summary>
    public const double PowerOffset = 0.055;

    /// <summary>The power.</summary>
    public const double Power = 2.4;

    /// <summary>(6/29)³: above it f is the cube root, below it f(t) = <see cref="RootSlope"/>·t + <see cref="RootOffset"/>.</summary>
    public const double RootFrom = 216.0 / 24389;

    /// <summary>(29/6)²/3.</summary>
    public const double RootSlope = 841.0 / 108;

    /// <summary>4/29.</summary>
    public const double RootOffset = 4.0 / 29;

    // Lindbloom's matrix of the sRGB primaries, from linear RGB to X, Y and Z.
    private static readonly double[] Primaries =
    [
        0.4124564, 0.3575761, 0.1804375,
        0.2126729, 0.7151522, 0.0721750,
        0.0193339, 0.1191920, 0.9503041,
    ];

    private static readonly double[] PerWhite = [.. Primaries.Select((v, i) => v / (Primaries[i - (i % 3)] + Primaries[i - (i % 3) + 1] + Primaries[i - (i % 3) + 2]))];

    /// <summary>Row-major 3×3: linear RGB to X/Xn, Y/Yn, Z/Zn.</summary>
    public static ReadOnlySpan<double> Matrix => PerWhite;

    /// <summary>Linear light of an sRGB value in [0, 1].</summary>
    public static double Linear(double value) =>
        value <= LinearUpTo ? value * LinearSlope : Math.Pow((value + PowerOffset) / (1 + PowerOffset), Power);

    /// <summary>CIE's f: the cube root with a linear start.</summary>
    public static double Root(double t) => t > RootFrom ? Math.Cbrt(t) : (RootSlope * t) + RootOffset;

    /// <summary>L* (0 to 100), a*, b* of sRGB values in [0, 1].</summary>
    public static (double L, double A, double B) FromSrgb(double red, double green, double blue)
    {
        var (r, g, b) = (Linear(red), Linear(green), Linear(blue));
        var m = Matrix;
        var x = Root((m[0] * r) + (m[1] * g) + (m[2] * b));
        var y = Root((m[3] * r) + (m[4] * g) + (m[5] * b));
        var z = Root((m[6] * r) + (m[7] * g) + (m[8] * b));
        return ((116 * y) - 16, 500 * (x - y), 200 * (y - z));
    }

    /// <summary>
    /// The points of a square grid on the ab plane that some sRGB colour of 8 bits is nearest to, by a, then by b. Colours of extreme chroma lie on
    /// the surface of the RGB cube, and so does at least one colour of every chroma: the surface is all that is looked at.
    /// </summary>
    /// <param name="step">Distance of the grid's points, at least 1.</param>
    public static IReadOnlyList<(int A, int B)> GamutGrid(int step)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(step, 1);
        var linear = Enumerable.Range(0, 256).Select(v => Linear(v / 255.0)).ToArray();
        var m = PerWhite;
        var found = new HashSet<(int A, int B)>();
        void Visit(int red, int green, int blue)
        {
            var (r, g, b) = (linear[red], linear[green], linear[blue]);
            var y = Root((m[3] * r) + (m[4] * g) + (m[5] * b));
            var a = 500 * (Root((m[0] * r) + (m[1] * g) + (m[2] * b)) - y);
            var c = 200 * (y - Root((m[6] * r) + (m[7] * g) + (m[8] * b)));
            found.Add(((int)Math.Round(a / step) * step, (int)Math.Round(c / step) * step));
        }

        for (var i = 0; i < 256; i++)
        {
            for (var j = 0; j < 256; j++)
            {
                foreach (var face in (ReadOnlySpan<int>)[0, 255])
                {
                    Visit(face, i, j);
                    Visit(i, face, j);
                    Visit(i, j, face);
                }
            }
        }

        return [.. found.Order()];
    }
}

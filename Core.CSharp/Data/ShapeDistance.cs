namespace SslResearch.Core.Data;

/// <summary>
/// Signed distances to the ten silhouettes, negative inside, in a frame where the shape fills the unit circle, y down.
/// Only +, -, ×, /, and square roots, which IEEE 754 rounds exactly: the same bits on every machine.
/// Formulas after Quilez, "2D distance functions".
/// </summary>
internal static class ShapeDistance
{
    private static readonly double[] Triangle = [0, -1, 0.95, 0.72, -0.95, 0.72];

    private static readonly double[] Arrow =
        [1, 0, 0.18, -0.86, 0.18, -0.32, -0.95, -0.32, -0.95, 0.32, 0.18, 0.32, 0.18, 0.86];

    private static readonly double[] Hourglass = [-0.8, -0.92, 0.8, -0.92, 0.13, 0, 0.8, 0.92, -0.8, 0.92, -0.13, 0];

    // Outer radius 1.04, inner 0.44, first point up; cos and sin of multiples of 36 degrees written out.
    private static readonly double[] Star = MakeStar(1.04, 0.44);

    public static double Of(ShapeKind kind, double x, double y) => kind switch
    {
        ShapeKind.Disc => Length(x, y) - 0.9,
        ShapeKind.Ring => Math.Abs(Length(x, y) - 0.7) - 0.22,
        ShapeKind.Square => Box(x, y, 0.78, 0.78),
        ShapeKind.Triangle => Polygon(Triangle, x, y),
        ShapeKind.Star => Polygon(Star, x, y),
        ShapeKind.Cross => Math.Min(Box(x, y, 0.95, 0.3), Box(x, y, 0.3, 0.95)),
        ShapeKind.Crescent => Math.Max(Length(x + 0.1, y) - 0.95, 0.74 - Length(x - 0.36, y)),
        ShapeKind.Heart => Heart(Math.Abs(x) * 0.6, 0.55 - (y * 0.6)) / 0.6,
        ShapeKind.Arrow => Polygon(Arrow, x, y),
        ShapeKind.Hourglass => Polygon(Hourglass, x, y),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "Not a shape."),
    };

    public static double Box(double x, double y, double halfWidth, double halfHeight)
    {
        var dx = Math.Abs(x) - halfWidth;
        var dy = Math.Abs(y) - halfHeight;
        return Length(Math.Max(dx, 0), Math.Max(dy, 0)) + Math.Min(Math.Max(dx, dy), 0);
    }

    private static double Length(double x, double y) => Math.Sqrt((x * x) + (y * y));

    private static double Heart(double x, double y)
    {
        if (x + y > 1)
        {
            return Length(x - 0.25, y - 0.75) - 0.35355339059327373;
        }

        var t = 0.5 * Math.Max(x + y, 0);
        var toTop = (x * x) + ((y - 1) * (y - 1));
        var toFlank = ((x - t) * (x - t)) + ((y - t) * (y - t));
        var d = Math.Sqrt(Math.Min(toTop, toFlank));
        return x > y ? d : -d;
    }

    private static double Polygon(double[] v, double x, double y)
    {
        var best = double.MaxValue;
        var inside = false;
        double px = v[^2], py = v[^1];
        for (var i = 0; i < v.Length; i += 2)
        {
            double cx = v[i], cy = v[i + 1];
            double ex = px - cx, ey = py - cy, wx = x - cx, wy = y - cy;
            var t = Math.Clamp(((wx * ex) + (wy * ey)) / ((ex * ex) + (ey * ey)), 0, 1);
            double bx = wx - (ex * t), by = wy - (ey * t);
            best = Math.Min(best, (bx * bx) + (by * by));
            if ((cy > y) != (py > y) && x < cx + ((y - cy) * ex / ey))
            {
                inside = !inside;
            }

            px = cx;
            py = cy;
        }

        return inside ? -Math.Sqrt(best) : Math.Sqrt(best);
    }

    private static double[] MakeStar(double outer, double inner)
    {
        const double c36 = 0.80901699437494745, s36 = 0.58778525229247314, c72 = 0.30901699437494745, s72 = 0.95105651629515353;
        ReadOnlySpan<double> sines = [0, s36, s72, s72, s36, 0, -s36, -s72, -s72, -s36];
        ReadOnlySpan<double> cosines = [1, c36, c72, -c72, -c36, -1, -c36, -c72, c72, c36];
        var vertices = new double[20];
        for (var i = 0; i < 10; i++)
        {
            var radius = i % 2 == 0 ? outer : inner;
            vertices[2 * i] = radius * sines[i];
            vertices[(2 * i) + 1] = -radius * cosines[i];
        }

        return vertices;
    }
}

namespace SslResearch.Core.Data;

/// <summary>Sine and cosine by series: unlike the C library's, the same bits on every machine. Error below 1e-13.</summary>
internal static class ShapeMath
{
    public static (double Sin, double Cos) SinCos(double angle)
    {
        var quadrant = Math.Round(angle * (2 / Math.PI));
        var x = angle - (quadrant * (Math.PI / 2));
        var s = Sin(x);
        var c = Cos(x);
        return ((long)quadrant & 3) switch
        {
            0 => (s, c),
            1 => (c, -s),
            2 => (-s, -c),
            _ => (-c, s),
        };
    }

    public static double Smooth(double t) => t * t * (3 - (2 * t));

    private static double Sin(double x)
    {
        var square = x * x;
        var term = x;
        var sum = x;
        for (var k = 1; k <= 8; k++)
        {
            term *= -square / (2 * k * ((2 * k) + 1));
            sum += term;
        }

        return sum;
    }

    private static double Cos(double x)
    {
        var square = x * x;
        var term = 1.0;
        var sum = 1.0;
        for (var k = 1; k <= 8; k++)
        {
            term *= -square / (((2 * k) - 1) * (2 * k));
            sum += term;
        }

        return sum;
    }
}

namespace SslResearch.Core.Data;

/// <summary>
/// A bar or disc in front of a moving shape, standing or drifting. Lengths are fractions of the image's side, x to the right, y down; velocities
/// are for one frame.
/// </summary>
public sealed record ShapeOccluder
{
    /// <summary>A disc, otherwise a bar.</summary>
    public required bool IsDisc { get; init; }

    /// <summary>Centre in the first frame, from the left.</summary>
    public required double X { get; init; }

    /// <summary>Centre in the first frame, from the top.</summary>
    public required double Y { get; init; }

    /// <summary>Step to the right.</summary>
    public required double VelocityX { get; init; }

    /// <summary>Step down.</summary>
    public required double VelocityY { get; init; }

    /// <summary>Half the bar's width; the disc's radius.</summary>
    public required double Half { get; init; }

    /// <summary>Direction of a bar, which reaches from border to border.</summary>
    public required double Angle { get; init; }

    /// <summary>Its one colour.</summary>
    public required NamedColour Colour { get; init; }

    /// <summary>Share of the pixel around (u, v) that it covers.</summary>
    /// <param name="u">Centre of the pixel, from the left.</param>
    /// <param name="v">From the top.</param>
    /// <param name="frame">Which frame, from 0.</param>
    /// <param name="size">Side of the image in pixels.</param>
    public double Coverage(double u, double v, int frame, int size)
    {
        var (sin, cos) = ShapeMath.SinCos(Angle);
        return Coverage(u - X - (frame * VelocityX), v - Y - (frame * VelocityY), sin, cos, size);
    }

    /// <summary>Draws it over a frame, (size, size, 3) uint8.</summary>
    internal void Draw(int frame, int size, Span<byte> pixels)
    {
        var (sin, cos) = ShapeMath.SinCos(Angle);
        var step = 1.0 / size;
        double x = X + (frame * VelocityX), y = Y + (frame * VelocityY);
        for (var i = 0; i < size * size; i++)
        {
            var cover = Coverage((((i % size) + 0.5) * step) - x, (((i / size) + 0.5) * step) - y, sin, cos, size);
            if (cover > 0)
            {
                var pixel = pixels.Slice(3 * i, 3);
                pixel[0] = Over(pixel[0], Colour.Red, cover);
                pixel[1] = Over(pixel[1], Colour.Green, cover);
                pixel[2] = Over(pixel[2], Colour.Blue, cover);
            }
        }
    }

    private static byte Over(byte below, double colour, double cover) => (byte)(below + (cover * ((255 * colour) - below)) + 0.5);

    private double Coverage(double dx, double dy, double sin, double cos, int size)
    {
        var distance = IsDisc
            ? Math.Sqrt((dx * dx) + (dy * dy)) - Half
            : Math.Abs((dy * cos) - (dx * sin)) - Half;
        return Math.Clamp(0.5 - (distance * size), 0, 1);
    }
}

using SslResearch.Core.Runtime;

namespace SslResearch.Core.Data;

/// <summary>
/// What one procedural clip shows: a scene whose shape moves at constant velocity, bounces off the borders and turns at constant angular speed
/// in front of a background that stands still, pixel noise included; in half of the clips something else passes in front of it or stands there.
/// Lengths are fractions of the side; velocities are for one frame.
/// </summary>
public sealed record ShapeMotion
{
    /// <summary>Part of the clips with an occluder.</summary>
    public const double OccludedPart = 0.5;

    // One to three pixels a frame at 32 pixels: far enough to show, near enough to follow.
    private const double Slowest = 0.03, Fastest = 0.09, FastestTurn = 0.25, FastestDrift = 0.015;

    // The object's path and the occluder meet between these frames, give or take a few pixels, whatever the clip's length.
    private const double EarliestMeeting = 1, LatestMeeting = 6, Miss = 0.06;

    /// <summary>The first frame.</summary>
    public required ShapeScene Start { get; init; }

    /// <summary>Step to the right, before the first bounce.</summary>
    public required double VelocityX { get; init; }

    /// <summary>Step down, before the first bounce.</summary>
    public required double VelocityY { get; init; }

    /// <summary>Radians clockwise.</summary>
    public required double Turn { get; init; }

    /// <summary>What is in front; null for nothing.</summary>
    public required ShapeOccluder? Occluder { get; init; }

    /// <summary>Class of the shape.</summary>
    public int Label => Start.Label;

    /// <summary>The motion of one clip: a pure function of its position.</summary>
    /// <param name="seed">Seed of the dataset.</param>
    /// <param name="split">Split, for example <c>train</c>.</param>
    /// <param name="index">Position; the class is <c>index % 10</c>, and the first frame shows the scene of that image of <see cref="ShapesDataset"/>.</param>
    /// <param name="statistics">What goes with what.</param>
    public static ShapeMotion Draw(ulong seed, string split, long index, ShapesStatistics statistics = ShapesStatistics.Independent)
    {
        var start = ShapesSampler.Draw(seed, split, index, statistics).Alone();
        var g = new Philox(seed, RandomPurpose.Clips, ShapesSampler.SplitCode(split), (uint)index);
        var (sin, cos) = ShapeMath.SinCos(g.NextDouble(0, 2 * Math.PI));
        var speed = g.NextDouble(Slowest, Fastest);
        var motion = new ShapeMotion
        {
            Start = start,
            VelocityX = speed * cos,
            VelocityY = speed * sin,
            Turn = g.NextDouble(-FastestTurn, FastestTurn),
            Occluder = null,
        };
        return g.NextDouble() < OccludedPart ? motion with { Occluder = motion.DrawOccluder(ref g) } : motion;
    }

    /// <summary>The scene behind the occluder at a time, counted in frames from 0.</summary>
    public ShapeScene Scene(double time)
    {
        var reach = ShapesSampler.Reach * Start.Size;
        return Start.WithPose(
            Bounced(Start.X, VelocityX, time, reach), Bounced(Start.Y, VelocityY, time, reach), Start.Rotation + (time * Turn), Start.Size);
    }

    /// <summary>Draws one frame.</summary>
    /// <param name="frame">From 0.</param>
    /// <param name="size">Side in pixels.</param>
    /// <param name="pixels">(size, size, 3) uint8, overwritten.</param>
    public void Render(int frame, int size, Span<byte> pixels)
    {
        ShapesRenderer.Render(Scene(frame), size, pixels);
        Occluder?.Draw(frame, size, pixels);
    }

    /// <summary>Where a point is that goes to and fro between <paramref name="low"/> and 1 − <paramref name="low"/>.</summary>
    private static double Bounced(double start, double velocity, double time, double low)
    {
        var room = 1 - (2 * low);
        var way = start - low + (velocity * time);
        way -= 2 * room * Math.Floor(way / (2 * room));
        return low + (way > room ? (2 * room) - way : way);
    }

    private ShapeOccluder DrawOccluder(ref Philox g)
    {
        var isDisc = g.NextSingle() < 0.5f;
        var time = g.NextDouble(EarliestMeeting, LatestMeeting);
        var drifting = g.NextSingle() < 0.5f;
        var (sin, cos) = ShapeMath.SinCos(g.NextDouble(0, 2 * Math.PI));
        var drift = drifting ? g.NextDouble(0, FastestDrift) : 0;
        var met = Scene(time);
        return new ShapeOccluder
        {
            IsDisc = isDisc,
            X = met.X + g.NextDouble(-Miss, Miss) - (time * drift * cos),
            Y = met.Y + g.NextDouble(-Miss, Miss) - (time * drift * sin),
            VelocityX = drift * cos,
            VelocityY = drift * sin,
            Half = isDisc ? g.NextDouble(0.09, 0.15) : g.NextDouble(0.03, 0.07),
            Angle = g.NextDouble(0, Math.PI),
            Colour = ShapesSampler.AnyColour(ref g),
        };
    }
}

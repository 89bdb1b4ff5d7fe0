namespace SslResearch.Core.Augment;

/// <summary>Sizes of a <see cref="Workspace"/>, in floats, each a whole number of blocks.</summary>
internal record struct WorkspaceNeed
{
    public const int TailFloats = 4 * AxisTable.Block;
    public const int HalfFloats = 64;

    /// <summary>Room for the edges at both ends of a line.</summary>
    public const int LineMargin = Filter.MaxRadius * AxisTable.Block;

    /// <summary>Least length of a line; two of them fit a core's nearest cache.</summary>
    public const int LineFloats = 3072;

    /// <summary>Channels × (largest image + slack).</summary>
    public int Image { get; private set; }

    public int Between { get; private set; }

    public int Rows { get; private set; }

    public int Line { get; private set; }

    public int Starts { get; private set; }

    public int Weights { get; private set; }

    public readonly int Total => (2 * Image) + Between + Rows + (2 * Line) + TailFloats + HalfFloats + (2 * Starts) + (2 * Weights);

    /// <summary>Distance between the planes of an image of this size.</summary>
    public static int Plane(int height, int width) => AxisTable.Padded(height * width) + Workspace.Slack;

    public static int Row(int width) => AxisTable.Padded(width) + Workspace.Slack;

    public static int BetweenPlane(int height, int width) => (height * AxisTable.Padded(width)) + Workspace.Slack;

    /// <summary>Adds a resampling from at most one size to another.</summary>
    public void Resample(int channels, int height, int width, int newHeight, int newWidth, Interpolation mode)
    {
        Hold(channels, height, width);
        Hold(channels, newHeight, newWidth);
        Between = Math.Max(Between, channels * BetweenPlane(height, newWidth));
        Rows = Math.Max(Rows, channels * Row(width));
        Starts = Math.Max(Starts, AxisTable.Padded(Math.Max(newHeight, newWidth)));
        Weights = Math.Max(Weights, Math.Max(
            AxisTable.MostTaps(width, newWidth, mode) * AxisTable.Padded(newWidth),
            AxisTable.MostTaps(height, newHeight, mode) * AxisTable.Padded(newHeight)));
    }

    /// <summary>Adds an image of this size.</summary>
    public void Hold(int channels, int height, int width)
    {
        Image = Math.Max(Image, channels * Plane(height, width));
        var longest = Math.Max(LineFloats, Math.Max(AxisTable.Padded(width), height * AxisTable.Block));
        Line = Math.Max(Line, longest + (2 * LineMargin) + Workspace.Slack);
    }
}

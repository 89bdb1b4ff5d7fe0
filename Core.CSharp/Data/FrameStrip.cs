namespace SslResearch.Core.Data;

/// <summary>
/// A clip as one stored image: T square frames of side S one below the other, (T·S, S, C) uint8. Packs, fingerprints and loaders need not know
/// of clips, and T is recorded by the shape itself: height over width.
/// </summary>
public static class FrameStrip
{
    /// <summary>Fewest frames of a clip.</summary>
    public const int Fewest = 2;

    /// <summary>Highest strip that a pack takes, in pixels.</summary>
    public const int Highest = 1 << 15;

    /// <summary>T.</summary>
    /// <exception cref="ArgumentException">The shape is no film strip.</exception>
    public static int Frames(ImageShape strip)
    {
        if (strip.Width < 1 || strip.Height % strip.Width != 0 || strip.Height / strip.Width < Fewest)
        {
            throw new ArgumentException(
                $"Images of {strip} are no clips: a clip is stored as {Fewest} or more square frames one below the other. Give clips (ShapesInMotion, or sslr data import NAME FOLDER --frames T).",
                nameof(strip));
        }

        return strip.Height / strip.Width;
    }

    /// <summary>Size of one frame.</summary>
    /// <exception cref="ArgumentException">The shape is no film strip.</exception>
    public static ImageShape Frame(ImageShape strip) => strip with { Height = strip.Height / Frames(strip) };

    /// <summary>The strip of this many frames of this side.</summary>
    public static ImageShape Of(int frames, int side, int channels) => new(checked(frames * side), side, channels);
}

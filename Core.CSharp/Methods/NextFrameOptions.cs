using SslResearch.Core.Models;

namespace SslResearch.Core.Methods;

/// <summary>How the decoder's values become a frame.</summary>
public abstract record FrameOutput;

/// <summary>They are the frame.</summary>
public sealed record WholeFrame : FrameOutput;

/// <summary>They are added to the last known frame.</summary>
public sealed record FrameResidual : FrameOutput;

/// <summary>They say for each pixel where in the last known frame it comes from (<see cref="MovedPixels"/>).</summary>
/// <param name="Reach">Pixels that one can have moved in each direction, at least 1.</param>
public sealed record FrameMotion(int Reach) : FrameOutput;

/// <summary>How far a predicted frame is from the true one.</summary>
public enum FrameError
{
    /// <summary>Mean squared difference.</summary>
    Squared,

    /// <summary>Mean absolute difference.</summary>
    Absolute,
}

/// <summary>Choices of <see cref="NextFrame"/>.</summary>
/// <param name="Time">What remembers the frames so far.</param>
/// <param name="Decoder">Channels after each doubling of the encoder's map; together they lead to the size of a frame.</param>
/// <param name="Output">How the decoder's values become a frame.</param>
/// <param name="Error">The loss.</param>
/// <param name="EveryFrame">True predicts each frame that at least two precede; false only the last.</param>
public sealed record NextFrameOptions(TimeModelOptions Time, IReadOnlyList<int> Decoder, FrameOutput Output, FrameError Error, bool EveryFrame);

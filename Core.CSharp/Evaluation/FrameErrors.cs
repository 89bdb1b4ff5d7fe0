namespace SslResearch.Core.Evaluation;

/// <summary>Mean squared errors of a predicted frame over all clips, channels and pixels, for values from 0 to 1.</summary>
/// <param name="Frame">Which frame of a clip, from 0: all before it are known.</param>
/// <param name="Predicted">Of the model.</param>
/// <param name="Copied">Of the frame before it.</param>
/// <param name="Extrapolated">Of the two frames before it, continued in a straight line.</param>
public sealed record FrameErrors(int Frame, double Predicted, double Copied, double Extrapolated);

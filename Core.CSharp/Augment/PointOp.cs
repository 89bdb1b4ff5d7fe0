namespace SslResearch.Core.Augment;

/// <summary>What happens to each pixel by itself. Values lie in 0 to 255.</summary>
internal enum PointKind
{
    Brightness,
    Contrast,
    Saturation,
    Hue,
    Gray,
    Solarize,
}

/// <summary>One step of a program over pixels.</summary>
/// <param name="Kind">What to do.</param>
/// <param name="A">Factor; for hue the turn in sixths of the circle; for solarize the threshold.</param>
/// <param name="B">For contrast, once the mean of the gray image is known, (1 - A) × mean.</param>
internal readonly record struct PointOp(PointKind Kind, float A, float B = 0);

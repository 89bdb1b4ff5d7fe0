namespace SslResearch.Core.Augment;

/// <summary>Resampling filter; both widen with the scale when an image shrinks (antialiased, as Pillow and torchvision's antialias=True).</summary>
public enum Interpolation
{
    /// <summary>Triangle filter, support 1.</summary>
    Bilinear,

    /// <summary>Cubic filter with a = -0.5, support 2.</summary>
    Bicubic,
}

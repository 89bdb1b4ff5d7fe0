using SslResearch.Core.Augment;
using SslResearch.Core.Data;

namespace SslResearch.Benchmarks;

/// <summary>The pipelines of the peer scripts, in our operations.</summary>
internal static class Pipelines
{
    private static readonly ChannelNormalisation Normalisation = new([0.5f, 0.5f, 0.5f], [0.25f, 0.25f, 0.25f]);

    /// <summary>The full SimCLR pipeline with Pillow's blur.</summary>
    public static ViewPipeline Full(ImageShape source, int output) => new(source, [.. Common(output), new Blur(0.1, 2.0, 0.5)], Normalisation);

    /// <summary>The same without blur, as CIFAR recipes have it.</summary>
    public static ViewPipeline WithoutBlur(ImageShape source, int output) => new(source, [.. Common(output)], Normalisation);

    private static IEnumerable<ViewOp> Common(int output) =>
    [
        new ResizedCrop(0.2, 1.0, 3.0 / 4, 4.0 / 3, output, output, Interpolation.Bilinear),
        new Flip(0.5),
        new Jitter(0.4, 0.4, 0.4, 0.1, 0.8),
        new Gray(0.2),
    ];
}

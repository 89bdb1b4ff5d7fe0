namespace SslResearch.Core.Models;

/// <summary>Residual block of a <see cref="ResNet"/>.</summary>
public enum ResidualBlock
{
    /// <summary>Two 3×3 convolutions (ResNet-18, -34).</summary>
    Basic,

    /// <summary>1×1, 3×3 (carries the stride), 1×1 to four times the width (ResNet-50 and deeper).</summary>
    Bottleneck,
}

/// <summary>First layers of a <see cref="ResNet"/>.</summary>
public enum Stem
{
    /// <summary>7×7 convolution with stride 2, then 3×3 max-pooling with stride 2.</summary>
    Imagenet,

    /// <summary>3×3 convolution with stride 1 and padding 1, no pooling (Chen et al. 2020, appendix B.9).</summary>
    Cifar,

    /// <summary>3×3 convolution with stride 2 and padding 1, no pooling: a quarter of the work, for CPU-scale encoders.</summary>
    CifarStride2,
}

/// <summary>Which residual network. ResNet-18 is (Basic, [2; 2; 2; 2], 64, …), ResNet-50 (Bottleneck, [3; 4; 6; 3], 64, …).</summary>
/// <param name="Block">Kind of block.</param>
/// <param name="Blocks">Blocks in each stage; the first stage keeps the resolution, each later one halves it and doubles the width.</param>
/// <param name="Width">Channels of the stem and of the first stage (times four after a bottleneck).</param>
/// <param name="Stem">First layers.</param>
/// <param name="Channels">Channels of the images.</param>
public sealed record ResNetOptions(ResidualBlock Block, IReadOnlyList<int> Blocks, int Width, Stem Stem, int Channels);

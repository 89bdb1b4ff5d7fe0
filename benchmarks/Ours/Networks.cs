using SslResearch.Core.Methods;
using SslResearch.Core.Models;

namespace SslResearch.Benchmarks;

/// <summary>The networks of the peer scripts.</summary>
internal static class Networks
{
    public static ResNet ResNet18(int width) => new(new ResNetOptions(ResidualBlock.Basic, [2, 2, 2, 2], width, Stem.Cifar, 3));

    /// <summary>ResNet-18 of width 16 with a small projector.</summary>
    public static SimClr Narrow() => new(ResNet18(16), new SimClrOptions(0.5, Projector(128, 128)));

    /// <summary>The CPU-scale preset: three stages of one block, width 32, stem with stride 2.</summary>
    public static SimClr Preset() => new(
        new ResNet(new ResNetOptions(ResidualBlock.Basic, [1, 1, 1], 32, Stem.CifarStride2, 3)),
        new SimClrOptions(0.2, Projector(256, 128)));

    private static MlpProjection Projector(int hidden, int outputs) =>
        new([hidden], outputs, HiddenBias: false, HiddenNorm: true, OutputBias: true, OutputNorm.None);
}

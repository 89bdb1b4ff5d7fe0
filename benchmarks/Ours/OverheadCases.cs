extern alias language;

using Recipes;
using TorchSharp;
using Language = language::SslResearch;

namespace SslResearch.Benchmarks;

/// <summary>Every method at its CPU-scale preset, on the views of the recipes.</summary>
internal static class OverheadCases
{
    private static readonly Dictionary<string, Func<double, Measurement>> All = new()
    {
        ["rotation"] = s => OverheadSide.Of(Language.Rotation.CpuCifar, CpuScale.turned, s),
        ["jigsaw"] = s => OverheadSide.Of(Language.Jigsaw.CpuCifar, CpuScale.puzzle, s),
        ["colorization"] = s => OverheadSide.Of(Language.Colorization.CpuCifar, CpuScale.colours, s, v => ("encoder", v.Lightness.expand(-1, 3, -1, -1))),
        ["SimCLR"] = s => OverheadSide.Of(Language.SimClr.CpuCifar, CpuScale.two, s),
        ["MoCo v1"] = s => OverheadSide.Of(Language.Moco.CpuCifarV1, CpuScale.two, s),
        ["MoCo v2"] = s => OverheadSide.Of(Language.Moco.CpuCifarV2, CpuScale.two, s),
        ["MoCo v3"] = s => OverheadSide.Of(Language.MocoV3.CpuCifar, CpuScale.two, s),
        ["NNCLR"] = s => OverheadSide.Of(Language.NnClr.CpuCifar, CpuScale.two, s),
        ["SwAV"] = s => OverheadSide.Of(Language.Swav.CpuCifar, CpuScale.crops, s),
        ["BYOL"] = s => OverheadSide.Of(Language.Byol.CpuCifar, CpuScale.two, s),
        ["SimSiam"] = s => OverheadSide.Of(Language.SimSiam.CpuCifar, CpuScale.two, s),
        ["DINO"] = s => OverheadSide.Of(Language.Dino.CpuCifar, CpuScale.crops, s, v => ("head", torch.randn(v.CropCount * v.Count, 128).requires_grad_())),
        ["Barlow Twins"] = s => OverheadSide.Of(Language.BarlowTwins.CpuCifar, CpuScale.two, s),
        ["VICReg"] = s => OverheadSide.Of(Language.VicReg.CpuCifar, CpuScale.two, s),
        ["LeJEPA"] = s => OverheadSide.Of(Language.LeJepa.CpuCifar, CpuScale.two, s),
    };

    /// <summary>Their names, in the order of tables.</summary>
    public static IEnumerable<string> Names => All.Keys;

    /// <exception cref="ArgumentException">No such method.</exception>
    public static Measurement Run(string name, double seconds) => All.TryGetValue(name, out var measure)
        ? measure(seconds)
        : throw new ArgumentException($"No such method: {name}.");
}

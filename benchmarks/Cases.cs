namespace SslResearch.Benchmarks;

/// <summary>All cases.</summary>
internal static class Cases
{
    private const string Preset = "CPU-scale preset, batch 256";
    private static readonly string[] Transformers = ["tiny", "small"];
    private static readonly string[] Sizes = ["32", "224"];

    public static IReadOnlyList<Case> All(Images images) =>
    [
        new(
            "a", "augmentation-32", "Augmentation, 32×32, one core",
            ["augmentation", "32", "32"],
            new Peer.Python("torchvision on PIL", ["augmentation.py", "--images", images.Small, "--size", "32", "--output", "32", "--threads", "1"]),
            Goal.Ratio(40)),
        new(
            "a", "augmentation-224", "Augmentation, 224×224 from 256×256, one core",
            ["augmentation", "256", "224"],
            new Peer.Python("torchvision on PIL", ["augmentation.py", "--images", images.Large, "--size", "256", "--output", "224", "--threads", "1"]),
            Goal.Ratio(7)),
        new(
            "b", "update", "Update, moving average and zeroing, ResNet-18",
            ["update", "fused"],
            new Peer.TorchSharp("TorchSharp's SGD and a loop", ["update", "torchsharp"]),
            Goal.Ratio(3)),
        new(
            "c", "step", "SimCLR step, ResNet-18 of width 16, 128 views",
            ["step"],
            new Peer.Python("PyTorch", ["step.py"]),
            Goal.Ratio(0.95)),
        new(
            "d", "pretraining-pil", $"Pretraining end to end, {Preset}",
            ["pretraining"],
            new Peer.Python("PyTorch, torchvision on PIL, 2 workers", ["pretraining.py", "--images", images.Small, "--augmentation", "pil"]),
            Goal.Ratio(3)),
        new(
            "d", "pretraining-batched", $"Pretraining end to end, {Preset}",
            ["pretraining"],
            new Peer.Python("PyTorch, batched tensor augmentation", ["pretraining.py", "--images", images.Small, "--augmentation", "batched"]),
            Goal.Ratio(1.1)),
        new("e", "wait", $"Loader wait, part of the step, {Preset}", ["wait"], new Peer.None(), Goal.Percent(2)),
        new("f", "memory", "Resident memory, largest change from step 500 to 5 000", ["memory"], new Peer.None(), Goal.Percent(2), Once: true),
        .. OverheadCases.Names.Select(name => new Case(
            "g", $"overhead {name}", $"{name}: step over the bare passes of its networks, {Preset}", ["overhead", name], new Peer.None(), Goal.Percent(8))),
        .. MaskedEncoders(),
        new("i", "masking", "What hiding patches costs in a step of MAE, small vision transformer, batch 128", ["masking"], new Peer.None(), Goal.Percent(3)),
        .. KernelSide.Names.Select(kernel => new Case(
            "j", $"kernel {kernel.Name}", $"{kernel.Title}, forward and backward",
            ["kernel", kernel.Name, KernelSide.Ours],
            new Peer.TorchSharp("torch's own", ["kernel", kernel.Name, "torch"]),
            Goal.Ratio(1))),
    ];

    /// <summary>Encoder passes over a quarter of the patches beside passes over all of them (He et al. 2022 and the tutorials: 3–4 times as fast).</summary>
    private static IEnumerable<Case> MaskedEncoders() =>
        from model in Transformers
        from size in Sizes
        select new Case(
            "h", $"masked-encoder-{model}-{size}", $"ViT-{model}, {size} px: encoder on 25 % of the patches",
            ["masked-encoder", model, size, "25"],
            new Peer.TorchSharp("the same encoder on all patches", ["masked-encoder", model, size, "100"]),
            Goal.Ratio(3));
}

using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Residual network (He et al. 2016) without classifier; parameter names and, for the ImageNet stem, values as in torchvision
/// (stride on the 3×3 convolution of a bottleneck). Works in channels-last order. Weights are NaN until
/// <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class ResNet : Backbone
{
    private const string StemLayer = "stem";

    private readonly ConvLayer conv1;
    private readonly NormLayer bn1;
    private readonly nn.Module<Tensor, Tensor>[][] stages;
    private readonly string[] layers;

    /// <exception cref="ArgumentException">A count or width below 1.</exception>
    public ResNet(ResNetOptions options)
        : base(nameof(ResNet))
    {
        if (options.Blocks.Count == 0 || options.Blocks.Any(b => b < 1) || options.Width < 1 || options.Channels < 1)
        {
            throw new ArgumentException(
                $"A ResNet needs at least one stage, one block a stage, width 1 and one channel; received blocks [{string.Join("; ", options.Blocks)}], width {options.Width}, {options.Channels} channels.",
                nameof(options));
        }

        Options = options;
        conv1 = options.Stem switch
        {
            Stem.Imagenet => new ConvLayer(options.Channels, options.Width, 7, 2, 3),
            Stem.Cifar => new ConvLayer(options.Channels, options.Width, 3, 1, 1),
            Stem.CifarStride2 => new ConvLayer(options.Channels, options.Width, 3, 2, 1),
            _ => throw new ArgumentException($"Unknown stem {options.Stem}.", nameof(options)),
        };
        bn1 = new NormLayer(options.Width, relu: true);
        register_module(nameof(conv1), conv1);
        register_module(nameof(bn1), bn1);

        var channels = options.Width;
        stages = new nn.Module<Tensor, Tensor>[options.Blocks.Count][];
        for (var s = 0; s < stages.Length; s++)
        {
            stages[s] = new nn.Module<Tensor, Tensor>[options.Blocks[s]];
            for (var b = 0; b < stages[s].Length; b++)
            {
                var unit = new ResidualUnit(options.Block, channels, options.Width << s, s > 0 && b == 0 ? 2 : 1);
                channels = unit.Outputs;
                stages[s][b] = unit;
            }

            register_module($"layer{s + 1}", nn.ModuleList(stages[s]));
        }

        FeatureCount = channels;
        layers = [StemLayer, .. Enumerable.Range(1, stages.Length - 1).Select(i => $"layer{i}"), Output];
    }

    /// <summary>What was built.</summary>
    public ResNetOptions Options { get; }

    /// <inheritdoc/>
    public override int FeatureCount { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<string> Layers => layers;

    /// <summary>Features after global average pooling.</summary>
    /// <param name="input">(N, C, H, W), normalised.</param>
    /// <returns>(N, <see cref="FeatureCount"/>).</returns>
    public override Tensor forward(Tensor input) => Run(input, stages.Length);

    /// <inheritdoc/>
    public override Tensor Layer(Tensor images, string layer)
    {
        var depth = Array.IndexOf(layers, layer);
        return depth >= 0
            ? Run(images, depth)
            : throw new ArgumentException($"No layer '{layer}' in this ResNet; there are {string.Join(", ", layers)}.", nameof(layer));
    }

    /// <inheritdoc/>
    public override Tensor Map(Tensor images) => Maps(images, stages.Length);

    /// <inheritdoc/>
    public override Backbone Twin() => new ResNet(Options);

    private Tensor Run(Tensor input, int depth)
    {
        using var map = Maps(input, depth);
        return map.mean([2, 3]); // (N, d)
    }

    private Tensor Maps(Tensor input, int depth)
    {
        if (Aten.Sizes(input) is not [_, var received, _, _] || received != Options.Channels)
        {
            throw new ArgumentException($"expected (N, {Options.Channels}, H, W), received ({string.Join(", ", input.shape)})", nameof(input));
        }

        using var scope = NewDisposeScope();
        var x = bn1.call(conv1.call(input.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)));
        if (Options.Stem == Stem.Imagenet)
        {
            x = nn.functional.max_pool2d(x, 3, 2, 1);
        }

        for (var s = 0; s < depth; s++)
        {
            foreach (var unit in stages[s])
            {
                var next = unit.call(x);
                x.Dispose(); // without autograd this frees the activation at once
                x = next;
            }
        }

        return x.MoveToOuterDisposeScope(); // (N, d, h, w)
    }
}

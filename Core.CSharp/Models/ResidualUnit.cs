using SslResearch.Core.Models.Layers;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>One residual block: relu(f(x) + shortcut(x)); names as in torchvision.</summary>
internal sealed class ResidualUnit : nn.Module<Tensor, Tensor>
{
    private readonly (ConvLayer Conv, NormLayer Norm)[] path;
    private readonly ConvLayer? shortcutConv;
    private readonly NormLayer? shortcutNorm;

    public ResidualUnit(ResidualBlock block, int inputs, int width, int stride)
        : base(nameof(ResidualUnit))
    {
        Outputs = width * Expansion(block);
        path = block == ResidualBlock.Basic
            ? [
                (new ConvLayer(inputs, width, 3, stride, 1), new NormLayer(width, relu: true)),
                (new ConvLayer(width, width, 3, 1, 1), new NormLayer(width, relu: true)),
            ]
            : [
                (new ConvLayer(inputs, width, 1, 1, 0), new NormLayer(width, relu: true)),
                (new ConvLayer(width, width, 3, stride, 1), new NormLayer(width, relu: true)),
                (new ConvLayer(width, Outputs, 1, 1, 0), new NormLayer(Outputs, relu: true)),
            ];
        for (var i = 0; i < path.Length; i++)
        {
            register_module($"conv{i + 1}", path[i].Conv);
            register_module($"bn{i + 1}", path[i].Norm);
        }

        if (stride != 1 || inputs != Outputs)
        {
            shortcutConv = new ConvLayer(inputs, Outputs, 1, stride, 0);
            shortcutNorm = new NormLayer(Outputs, relu: false);
            register_module("downsample", nn.Sequential(shortcutConv, shortcutNorm));
        }
    }

    /// <summary>Channels of the result.</summary>
    public int Outputs { get; }

    /// <summary>Channels after a block over its width.</summary>
    public static int Expansion(ResidualBlock block) => block == ResidualBlock.Basic ? 1 : 4;

    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var shortcut = shortcutConv is null ? input : shortcutNorm!.call(shortcutConv.call(input));
        var x = input;
        for (var i = 0; i < path.Length - 1; i++)
        {
            x = path[i].Norm.call(path[i].Conv.call(x));
        }

        return path[^1].Norm.forward(path[^1].Conv.call(x), shortcut).MoveToOuterDisposeScope();
    }
}

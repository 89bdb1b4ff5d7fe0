using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Square convolution without bias; its weight (out, in, k, k) lies in channels-last order.
/// Starts by Kaiming's normal rule over outgoing connections (He et al. 2015), as torchvision's ResNet does.
/// </summary>
public sealed class ConvLayer : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly long[] strides;
    private readonly long[] paddings;

    // Not readonly and named as registered: Module.to() puts converted parameters back by field name.
    private Parameter weight;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public ConvLayer(int inputs, int outputs, int kernel, int stride, int padding)
        : base(nameof(ConvLayer))
    {
        strides = [stride, stride];
        paddings = [padding, padding];
        using var scope = NewDisposeScope();
        weight = new Parameter(full(outputs, kernel, kernel, inputs, Scalars.Of(float.NaN)).permute(0, 3, 1, 2));
        weight.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
    }

    /// <summary>(N, in, H, W) in channels-last order to (N, out, H', W').</summary>
    public override Tensor forward(Tensor input) => Convolution.Serves(input, weight)
        ? Convolution.Apply(input, weight, (int)strides[0], (int)paddings[0])
        : nn.functional.conv2d(input, weight, strides: strides, padding: paddings);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) =>
        new NormalValue(Math.Sqrt(2.0 / (value.shape[0] * value.shape[2] * value.shape[3])));
}

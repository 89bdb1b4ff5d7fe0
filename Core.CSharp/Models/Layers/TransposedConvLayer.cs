using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Transposed convolution that doubles height and width: kernel 4×4, stride 2, padding 1, no bias; each output sums four taps of every input
/// channel. Starts by Kaiming's normal rule over these.
/// </summary>
public sealed class TransposedConvLayer : nn.Module<Tensor, Tensor>, IInitialised
{
    private const int Kernel = 4;
    private const int Stride = 2;

    private static readonly long[] Strides = [Stride, Stride];
    private static readonly long[] Paddings = [1, 1];

    private Parameter weight;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public TransposedConvLayer(int inputs, int outputs)
        : base(nameof(TransposedConvLayer))
    {
        using var scope = NewDisposeScope();
        weight = new Parameter(full(inputs, outputs, Kernel, Kernel, Scalars.Of(float.NaN)));
        weight.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
    }

    /// <summary>(N, in, h, w) to (N, out, 2h, 2w).</summary>
    public override Tensor forward(Tensor input) => nn.functional.conv_transpose2d(input, weight, strides: Strides, padding: Paddings);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) =>
        new NormalValue(Math.Sqrt(2.0 / (value.shape[0] * (Kernel / Stride) * (Kernel / Stride))));
}

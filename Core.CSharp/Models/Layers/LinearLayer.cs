using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// y = xWᵀ + b over the last dimension, with W (out, in). Weight and bias start uniform on ±1/√in, PyTorch's default; or, where a deviation
/// is given, the weight as <see cref="TruncatedNormalValue"/> and the bias at zero, as transformers do.
/// </summary>
public sealed class LinearLayer : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly double? deviation;
    private readonly int inputs;
    private Parameter weight;
    private Parameter? bias;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public LinearLayer(int inputs, int outputs, bool hasBias, double? deviation = null)
        : base(nameof(LinearLayer))
    {
        this.inputs = inputs;
        this.deviation = deviation;
        using var scope = NewDisposeScope();
        weight = new Parameter(full(outputs, inputs, Scalars.Of(float.NaN)));
        weight.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
        if (hasBias)
        {
            bias = new Parameter(full(outputs, Scalars.Of(float.NaN)));
            bias.DetachFromDisposeScope();
            register_parameter(nameof(bias), bias);
        }
    }

    /// <summary>(N, in) to (N, out).</summary>
    public override Tensor forward(Tensor input) => input.size(-1) == inputs
        ? MatrixProduct.Linear(input, weight, bias)
        : throw new ArgumentException($"expected (N, {inputs}), received ({string.Join(", ", input.shape)})", nameof(input));

    /// <summary>The outputs from <paramref name="from"/> on, <paramref name="count"/> of them.</summary>
    internal Tensor Part(Tensor input, long from, long count) =>
        MatrixProduct.Linear(input, weight.narrow(0, from, count), bias?.narrow(0, from, count));

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => (deviation, parameter) switch
    {
        (null, _) => new UniformValue(1 / Math.Sqrt(inputs)),
        (_, nameof(bias)) => new ConstantValue(0f),
        _ => new TruncatedNormalValue(deviation.Value),
    };
}

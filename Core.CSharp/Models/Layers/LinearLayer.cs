using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>y = xWᵀ + b with W (out, in); weight and bias start uniform on ±1/√in, PyTorch's default.</summary>
public sealed class LinearLayer : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly double bound;
    private readonly int inputs;
    private Parameter weight;
    private Parameter? bias;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public LinearLayer(int inputs, int outputs, bool hasBias)
        : base(nameof(LinearLayer))
    {
        this.inputs = inputs;
        bound = 1 / Math.Sqrt(inputs);
        using var scope = NewDisposeScope();
        weight = new Parameter(full(outputs, inputs, float.NaN));
        weight.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
        if (hasBias)
        {
            bias = new Parameter(full(outputs, float.NaN));
            bias.DetachFromDisposeScope();
            register_parameter(nameof(bias), bias);
        }
    }

    /// <summary>(N, in) to (N, out).</summary>
    public override Tensor forward(Tensor input) => input.size(-1) == inputs
        ? nn.functional.linear(input, weight, bias!)
        : throw new ArgumentException($"expected (N, {inputs}), received ({string.Join(", ", input.shape)})", nameof(input));

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new UniformValue(bound);
}

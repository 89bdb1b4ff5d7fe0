using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>Layer normalisation over the last dimension, with scale (starts at 1) and shift (starts at 0) (Ba et al. 2016).</summary>
public sealed class TokenNorm : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly long[] shape;
    private readonly double epsilon;
    private Parameter weight;
    private Parameter bias;

    /// <param name="width">Length of a token.</param>
    /// <param name="epsilon">Added to the variance.</param>
    public TokenNorm(int width, double epsilon)
        : base(nameof(TokenNorm))
    {
        shape = [width];
        this.epsilon = epsilon;
        using var scope = NewDisposeScope();
        weight = new Parameter(ones(width));
        bias = new Parameter(zeros(width));
        weight.DetachFromDisposeScope();
        bias.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
        register_parameter(nameof(bias), bias);
    }

    /// <summary>(…, width), each token by itself.</summary>
    public override Tensor forward(Tensor input) => nn.functional.layer_norm(input, shape, weight, bias, epsilon);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new ConstantValue(parameter == nameof(weight) ? 1f : 0f);
}

using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Logits over a vocabulary at each position of a feature map: a 1×1 convolution (weight and bias uniform on ±1/√d). Normalised, each word's logits
/// have mean 0 and deviation 1 over the positions of a batch (in evaluation: over those of the last batches), times one learned factor; so no word
/// can be left behind by weights that grow elsewhere, or be ahead everywhere by its bias.
/// </summary>
/// <remarks>
/// The factor starts at √(2·ln V), where the likeliest of V normal logits weighs about as much as all others together: tokens say something from
/// the first step on and are still drawn from several words.
/// </remarks>
public sealed class TokenHead : nn.Module<Tensor, Tensor>, IInitialised
{
    // The parameter is a tenth of the factor, so that a step of Adam, which is as long as the learning rate, moves the factor ten times as far.
    private const double Lever = 10;

    private readonly int inputs;
    private readonly LinearLayer conv;
    private readonly NormLayer? norm;
    private Parameter? gain;

    /// <param name="inputs">d: channels of the feature map.</param>
    /// <param name="vocabulary">V, at least 2.</param>
    /// <param name="normalised">Whether logits are normalised.</param>
    /// <exception cref="ArgumentException">A count out of range.</exception>
    public TokenHead(int inputs, int vocabulary, bool normalised)
        : base(nameof(TokenHead))
    {
        if (inputs < 1 || vocabulary < 2)
        {
            throw new ArgumentException($"Tokens need at least one channel and two words; received {inputs} channels, a vocabulary of {vocabulary}.", nameof(vocabulary));
        }

        this.inputs = inputs;
        Vocabulary = vocabulary;
        conv = new LinearLayer(inputs, vocabulary, hasBias: !normalised);
        register_module(nameof(conv), conv);
        if (normalised)
        {
            norm = new NormLayer(vocabulary, relu: false, affine: false);
            register_module(nameof(norm), norm);
            using var scope = NewDisposeScope();
            gain = new Parameter(full(1, Scalars.Of(float.NaN)));
            gain.DetachFromDisposeScope();
            register_parameter(nameof(gain), gain);
        }
    }

    /// <summary>V.</summary>
    public int Vocabulary { get; }

    /// <summary>(N, d, h, w) to (N·h·w, V), image by image and row by row.</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var logits = conv.call(input.permute(0, 2, 3, 1).reshape(-1, inputs)); // (M, V)
        if (norm is not null)
        {
            using Scalar lever = Lever.ToScalar();
            logits = norm.call(logits).mul(gain!.mul(lever));
        }

        return logits.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new ConstantValue((float)(Math.Sqrt(2 * Math.Log(Vocabulary)) / Lever));
}

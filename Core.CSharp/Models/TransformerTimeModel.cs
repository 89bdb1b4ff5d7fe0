using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Causal transformer over the steps of a sequence: a linear layer to the token's width, fixed sines and cosines of the step's number
/// (Vaswani et al. 2017), <see cref="TransformerBlock"/>s that see no later step, layer normalisation. Takes sequences of any length. Weights are
/// NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class TransformerTimeModel : TimeModel
{
    private const double NormEpsilon = 1e-6;

    private readonly int inputs;
    private readonly LinearLayer embed;
    private readonly TransformerBlock[] blocks;
    private readonly TokenNorm norm;

    /// <param name="inputs">Length of what comes in at each step.</param>
    /// <param name="options">Width, depth, heads.</param>
    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public TransformerTimeModel(int inputs, CausalTransformerOptions options)
        : base(nameof(TransformerTimeModel))
    {
        if (inputs < 1 || options.Width < 4 || options.Width % 4 != 0 || options.Depth < 1)
        {
            throw new ArgumentException(
                $"A transformer over time needs at least one input and one block, and a width divisible by 4; received {inputs} inputs, {options.Depth} blocks, width {options.Width}.",
                nameof(options));
        }

        this.inputs = inputs;
        FeatureCount = options.Width;
        var block = new TransformerBlockOptions(options.Width, options.Heads, options.MlpRatio, true, NormEpsilon, null, 0, Causal: true);
        embed = new LinearLayer(inputs, options.Width, hasBias: true);
        blocks = [.. Enumerable.Range(0, options.Depth).Select(_ => new TransformerBlock(block))];
        norm = new TokenNorm(options.Width, NormEpsilon);
        register_module(nameof(embed), embed);
        register_module(nameof(blocks), nn.ModuleList(blocks));
        register_module(nameof(norm), norm);
    }

    /// <inheritdoc/>
    public override int FeatureCount { get; }

    /// <summary>(M, T, in) to (M, T, width).</summary>
    public override Tensor forward(Tensor input)
    {
        if (Aten.Sizes(input) is not [_, > 0 and var steps, var received] || received != inputs)
        {
            throw new ArgumentException($"expected (M, T, {inputs}), received ({string.Join(", ", input.shape)})", nameof(input));
        }

        using var scope = NewDisposeScope();
        var x = embed.call(input);
        x = x.add(PositionTable.SinCos(1, (int)steps, FeatureCount).to(x.dtype, x.device));
        foreach (var block in blocks)
        {
            x = block.call(x);
        }

        return norm.call(x).MoveToOuterDisposeScope();
    }
}

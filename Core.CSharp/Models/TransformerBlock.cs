using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Pre-norm transformer block (Vaswani et al. 2017; Dosovitskiy et al. 2021): x + attention(norm(x)), then x + MLP(norm(x)), with the exact
/// GELU. Parameters are named as in DINO and timm; weights start truncated normal with deviation 0.02, biases at zero.
/// Stochastic depth (Huang et al. 2016) draws an image's branches from torch's generator, which the trainer seeds at each step.
/// </summary>
public sealed class TransformerBlock : nn.Module<Tensor, Tensor>
{
    /// <summary>Standard deviation of initial weights.</summary>
    public const double Deviation = 0.02;

    private readonly TransformerBlockOptions options;
    private readonly TokenNorm norm1;
    private readonly LinearLayer qkv;
    private readonly LinearLayer proj;
    private readonly BranchScale? ls1;
    private readonly TokenNorm norm2;
    private readonly LinearLayer fc1;
    private readonly LinearLayer fc2;
    private readonly BranchScale? ls2;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public TransformerBlock(TransformerBlockOptions options)
        : base(nameof(TransformerBlock))
    {
        if (options.Width < 1 || options.Heads < 1 || options.Width % options.Heads != 0)
        {
            throw new ArgumentException($"The heads of a transformer divide its width; received width {options.Width}, {options.Heads} heads.", nameof(options));
        }

        var hidden = (int)(options.Width * options.MlpRatio);
        if (hidden < 1 || !(options.NormEpsilon > 0) || !(options.DropPath is >= 0 and < 1))
        {
            throw new ArgumentException(
                $"A transformer block needs a hidden layer, a positive epsilon and a drop-path rate of at least 0 and below 1; received MLP ratio {options.MlpRatio}, epsilon {options.NormEpsilon}, rate {options.DropPath}.",
                nameof(options));
        }

        this.options = options;
        norm1 = new TokenNorm(options.Width, options.NormEpsilon);
        qkv = new LinearLayer(options.Width, 3 * options.Width, options.QkvBias, Deviation);
        proj = new LinearLayer(options.Width, options.Width, true, Deviation);
        norm2 = new TokenNorm(options.Width, options.NormEpsilon);
        fc1 = new LinearLayer(options.Width, hidden, true, Deviation);
        fc2 = new LinearLayer(hidden, options.Width, true, Deviation);
        register_module(nameof(norm1), norm1);
        register_module("attn", nn.Sequential((nameof(qkv), qkv), (nameof(proj), proj)));
        register_module(nameof(norm2), norm2);
        register_module("mlp", nn.Sequential((nameof(fc1), fc1), (nameof(fc2), fc2)));
        if (options.LayerScale is { } initial)
        {
            ls1 = new BranchScale(options.Width, initial);
            ls2 = new BranchScale(options.Width, initial);
            register_module(nameof(ls1), ls1);
            register_module(nameof(ls2), ls2);
        }
    }

    /// <summary>(N, T, width) to the same shape.</summary>
    public override Tensor forward(Tensor input) => Run(input, input.size(1));

    /// <summary>Only the first token of what <c>forward</c> gives, for about a fifth of the work: the others serve as keys and values alone.</summary>
    /// <param name="input">(N, T, width).</param>
    /// <returns>(N, width).</returns>
    public Tensor First(Tensor input)
    {
        using var token = Run(input, 1);
        return token.squeeze(1);
    }

    /// <summary>Only the first tokens of what <c>forward</c> gives: the others serve as keys and values alone.</summary>
    /// <param name="input">(N, T, width).</param>
    /// <param name="count">How many, 1 to T; not causal where fewer than T.</param>
    /// <returns>(N, count, width).</returns>
    public Tensor Leading(Tensor input, long count) => Run(input, count);

    /// <summary>How much each token takes from each other token.</summary>
    /// <param name="input">(N, T, width), what <c>forward</c> receives.</param>
    /// <returns>(N, heads, T, T): rows are queries and sum to 1.</returns>
    public Tensor Attention(Tensor input)
    {
        using var scope = NewDisposeScope();
        var parts = Split(Product(input), 3);
        var scores = parts[0].mul(Scalars.Of(1 / Math.Sqrt((double)options.Width / options.Heads))).matmul(parts[1].transpose(2, 3));
        if (options.Causal)
        {
            var tokens = input.shape[1];
            scores = scores.masked_fill(ones(tokens, tokens, ScalarType.Bool, input.device).triu(1), Scalars.Of(double.NegativeInfinity));
        }

        return scores.softmax(-1).MoveToOuterDisposeScope();
    }

    /// <summary>The first <paramref name="count"/> tokens.</summary>
    private Tensor Run(Tensor input, long count)
    {
        using var scope = NewDisposeScope();
        return Think(Attend(input, count)).MoveToOuterDisposeScope();
    }

    private Tensor Attend(Tensor input, long count)
    {
        using var scope = NewDisposeScope();
        var whole = count == input.size(1);
        return Join(whole ? input : input.narrow(1, 0, count), proj.call(Mix(input, count)), ls1).MoveToOuterDisposeScope();
    }

    /// <summary>What each token takes from the others, heads side by side: (N, count, width).</summary>
    private Tensor Mix(Tensor input, long count)
    {
        if (count == input.size(1))
        {
            var product = Product(input);
            if (PackedAttention.Serves(product, options.Heads))
            {
                return PackedAttention.Apply(product, options.Heads, options.Causal);
            }

            var parts = Split(product, 3); // views
            return Mix(parts[0], parts[1], parts[2]);
        }

        var x = Normalised(input);
        var pair = Split(qkv.Part(x, options.Width, 2L * options.Width), 2);
        return Mix(Split(qkv.Part(x.narrow(1, 0, count), 0, options.Width), 1)[0], pair[0], pair[1]);
    }

    private Tensor Mix(Tensor queries, Tensor keys, Tensor values) =>
        nn.functional.scaled_dot_product_attention(queries, keys, values, is_casual: options.Causal).transpose(1, 2).flatten(2);

    private Tensor Think(Tensor input)
    {
        using var scope = NewDisposeScope();
        return Join(input, fc2.call(nn.functional.gelu(fc1.call(norm2.call(input)))), ls2).MoveToOuterDisposeScope();
    }

    /// <summary>Queries, keys and values of all heads: (N, T, 3·width).</summary>
    private Tensor Product(Tensor input) => qkv.call(Normalised(input));

    private Tensor Normalised(Tensor input) => Aten.Sizes(input) is [_, _, var width] && width == options.Width
        ? norm1.call(input)
        : throw new ArgumentException($"expected (N, T, {options.Width}), received ({string.Join(", ", input.shape)})", nameof(input));

    private Tensor[] Split(Tensor product, int parts) =>
        product.view(product.size(0), product.size(1), parts, options.Heads, options.Width / options.Heads).permute(2, 0, 3, 1, 4).unbind(0);

    /// <summary>input + branch; the branch, which no gradient needs, is overwritten.</summary>
    private Tensor Join(Tensor input, Tensor branch, BranchScale? scale)
    {
        branch = scale is null ? branch : scale.call(branch);
        if (training && options.DropPath > 0)
        {
            var keep = 1 - options.DropPath;
            branch = branch.mul(rand([input.shape[0], 1, 1], input.dtype, input.device).lt_(Scalars.Of(keep)).div_(Scalars.Of(keep))); // its expectation stays
        }

        return branch.add_(input);
    }
}

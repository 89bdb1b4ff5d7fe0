using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Vision transformer (Dosovitskiy et al. 2021) without classifier; parameter names and values as in DINO (Caron et al. 2021), registers
/// named as in DINOv2. A sequence is CLS, registers, patches row by row. CLS, registers and learned positions start truncated normal with
/// deviation 0.02. Embedding, blocks and normalisation are callable by themselves, so that a method can leave out patches or replace them.
/// Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class VisionTransformer : Backbone, IInitialised
{
    private readonly (int Rows, int Columns) grid;
    private readonly PatchProjection projection;
    private readonly TransformerBlock[] blocks;
    private readonly TokenNorm norm;
    private readonly string[] layers;
    private Parameter cls_token;
    private Parameter? pos_embed;
    private Parameter? register_tokens;
    private Tensor? pos_table;

    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public VisionTransformer(VitOptions options)
        : base(nameof(VisionTransformer))
    {
        if (options.Patch < 1 || options.ImageSize.Height < 1 || options.ImageSize.Height % options.Patch != 0 || options.ImageSize.Width < 1 || options.ImageSize.Width % options.Patch != 0)
        {
            throw new ArgumentException($"The patch divides the image's sides; received {options.ImageSize.Height}×{options.ImageSize.Width} pixels, patches of {options.Patch}.", nameof(options));
        }

        if (options.Depth < 1 || options.Registers < 0 || options.Channels < 1)
        {
            throw new ArgumentException(
                $"A vision transformer needs at least one block and one channel, and no negative number of registers; received depth {options.Depth}, {options.Channels} channels, {options.Registers} registers.",
                nameof(options));
        }

        Options = options;
        grid = (options.ImageSize.Height / options.Patch, options.ImageSize.Width / options.Patch);
        blocks = [.. Enumerable.Range(0, options.Depth).Select(i => new TransformerBlock(BlockOptions(i)))];
        projection = new PatchProjection(options.Channels, options.Patch, options.Width);
        norm = new TokenNorm(options.Width, options.NormEpsilon);
        layers = [.. Enumerable.Range(1, options.Depth - 1).Select(i => $"block{i}"), Output];

        using var scope = NewDisposeScope();
        cls_token = Learned(nameof(cls_token), 1);
        if (options.Positions == PositionEncoding.Learned)
        {
            pos_embed = Learned(nameof(pos_embed), 1 + (grid.Rows * grid.Columns));
        }
        else
        {
            pos_table = PositionTable.SinCos(grid.Rows, grid.Columns, options.Width).DetachFromDisposeScope();
            register_buffer(nameof(pos_table), pos_table, false);
        }

        if (options.Registers > 0)
        {
            register_tokens = Learned(nameof(register_tokens), options.Registers);
        }

        register_module("patch_embed", nn.Sequential(("proj", projection)));
        register_module(nameof(blocks), nn.ModuleList(blocks));
        register_module(nameof(norm), norm);
    }

    /// <summary>What was built.</summary>
    public VitOptions Options { get; }

    /// <inheritdoc/>
    public override int FeatureCount => Options.Width;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Layers => layers;

    /// <summary>Tokens before the first patch.</summary>
    private int Prefix => 1 + Options.Registers;

    /// <summary>The CLS token or the mean of the patch tokens, normalised.</summary>
    /// <param name="input">(N, C, H, W), normalised; sides divisible by the patch.</param>
    /// <returns>(N, <see cref="FeatureCount"/>).</returns>
    public override Tensor forward(Tensor input) => Pooled(input, blocks.Length);

    /// <summary>
    /// Output of one block, named <c>block1</c>, <c>block2</c>, …, pooled as <c>h</c> is, after the final normalisation (as DINO takes
    /// intermediate layers); <c>h</c> is the last.
    /// </summary>
    /// <inheritdoc/>
    public override Tensor Layer(Tensor images, string layer)
    {
        var index = Array.IndexOf(layers, layer);
        return index >= 0
            ? Pooled(images, index + 1)
            : throw new ArgumentException($"No layer '{layer}' in this vision transformer; there are {string.Join(", ", layers)}.", nameof(layer));
    }

    /// <summary>The patch tokens of <see cref="Tokens"/> where their patches lie.</summary>
    /// <inheritdoc/>
    public override Tensor Map(Tensor images)
    {
        using var scope = NewDisposeScope();
        var (rows, columns) = Grid(images);
        return Patches(Tokens(images)).transpose(1, 2).unflatten(2, rows, columns).MoveToOuterDisposeScope(); // (N, width, h, w)
    }

    /// <inheritdoc/>
    public override Backbone Twin() => new VisionTransformer(Options);

    /// <summary>All tokens after the last block and the normalisation.</summary>
    /// <param name="images">(N, C, H, W), normalised.</param>
    /// <returns>(N, 1 + registers + patches, width).</returns>
    public Tensor Tokens(Tensor images)
    {
        using var scope = NewDisposeScope();
        return Norm(Blocks(Sequence(Embed(images)))).MoveToOuterDisposeScope();
    }

    /// <summary>Attention weights of one block.</summary>
    /// <param name="images">(N, C, H, W), normalised.</param>
    /// <param name="block">1 for the first; null for the last.</param>
    /// <returns>(N, heads, T, T), T as in <see cref="Tokens"/>: rows are queries and sum to 1.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No such block.</exception>
    public Tensor Attention(Tensor images, int? block = null)
    {
        var index = (block ?? blocks.Length) - 1;
        ArgumentOutOfRangeException.ThrowIfNegative(index, nameof(block));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, blocks.Length, nameof(block));
        using var scope = NewDisposeScope();
        return blocks[index].Attention(Blocks(Sequence(Embed(images)), index)).MoveToOuterDisposeScope();
    }

    /// <summary>One token for each patch, with its position: what <see cref="Sequence"/> takes.</summary>
    /// <param name="images">(N, C, H, W), normalised.</param>
    /// <returns>(N, patches, width).</returns>
    public Tensor Embed(Tensor images)
    {
        using var scope = NewDisposeScope();
        return Project(images).add_(Positions(images)).MoveToOuterDisposeScope();
    }

    /// <summary>One token for each patch, before its position is added.</summary>
    /// <param name="images">(N, C, H, W), normalised.</param>
    /// <returns>(N, patches, width).</returns>
    /// <exception cref="ArgumentException">Other channels, or a side that the patch does not divide.</exception>
    public Tensor Project(Tensor images)
    {
        _ = Grid(images);
        return projection.call(images);
    }

    /// <summary>Position vectors of the patches of images of this size.</summary>
    /// <param name="images">(N, C, H, W).</param>
    /// <returns>(1, patches, width).</returns>
    public Tensor Positions(Tensor images)
    {
        using var scope = NewDisposeScope();
        var table = pos_embed is null
            ? pos_table!.to(cls_token.dtype, cls_token.device) // Module.to() leaves a buffer that is not saved as it was
            : pos_embed.narrow(1, 1, pos_embed.shape[1] - 1);
        return PositionTable.Resize(table, grid, Grid(images), Options.Resizing).MoveToOuterDisposeScope();
    }

    /// <summary>CLS and registers before any number of patch tokens.</summary>
    /// <param name="patches">(N, P, width), positions added.</param>
    /// <returns>(N, 1 + registers + P, width).</returns>
    public Tensor Sequence(Tensor patches)
    {
        using var scope = NewDisposeScope();
        var n = patches.shape[0];
        List<Tensor> parts = [(pos_embed is null ? cls_token : cls_token + pos_embed.narrow(1, 0, 1)).expand(n, 1, Options.Width)];
        if (register_tokens is not null)
        {
            parts.Add(register_tokens.expand(n, Options.Registers, Options.Width));
        }

        parts.Add(patches);
        return cat(parts, 1).MoveToOuterDisposeScope();
    }

    /// <summary>The first <paramref name="count"/> blocks, or all.</summary>
    /// <param name="tokens">(N, T, width).</param>
    /// <param name="count">How many.</param>
    /// <returns>(N, T, width), not normalised.</returns>
    public Tensor Blocks(Tensor tokens, int? count = null)
    {
        using var scope = NewDisposeScope();
        var x = tokens.alias();
        foreach (var block in blocks.AsSpan(0, count ?? blocks.Length))
        {
            var next = block.call(x);
            x.Dispose(); // without autograd this frees the activation at once
            x = next;
        }

        return x.MoveToOuterDisposeScope();
    }

    /// <summary>The final normalisation.</summary>
    /// <param name="tokens">(…, width).</param>
    /// <returns>The same shape.</returns>
    public Tensor Norm(Tensor tokens) => norm.call(tokens);

    /// <summary>A sequence (N, 1 + registers + P, width) without CLS and registers: (N, P, width), a view.</summary>
    public Tensor Patches(Tensor sequence) => sequence.narrow(1, Prefix, sequence.size(1) - Prefix);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new TruncatedNormalValue(TransformerBlock.Deviation);

    private Tensor Pooled(Tensor images, int depth)
    {
        using var scope = NewDisposeScope();
        var tokens = Blocks(Sequence(Embed(images)), Options.Pool == TokenPool.Cls ? depth - 1 : depth);
        var pooled = Options.Pool == TokenPool.Cls
            ? Norm(blocks[depth - 1].First(tokens)) // the last block's other tokens are not asked for
            : Norm(Patches(tokens)).mean([1]);
        return pooled.MoveToOuterDisposeScope(); // (N, width)
    }

    private (int Rows, int Columns) Grid(Tensor images) =>
        images.shape is [_, var channels, var height, var width] && channels == Options.Channels && height % Options.Patch == 0 && width % Options.Patch == 0
            ? ((int)height / Options.Patch, (int)width / Options.Patch)
            : throw new ArgumentException($"expected (N, {Options.Channels}, H, W) with sides divisible by the patch of {Options.Patch}, received ({string.Join(", ", images.shape)})", nameof(images));

    private TransformerBlockOptions BlockOptions(int index) => new(
        Options.Width,
        Options.Heads,
        Options.MlpRatio,
        Options.QkvBias,
        Options.NormEpsilon,
        Options.LayerScale,
        Options.Depth == 1 ? 0 : Options.DropPath * index / (Options.Depth - 1),
        Causal: false);

    private Parameter Learned(string name, int tokens)
    {
        var parameter = new Parameter(full(1, tokens, Options.Width, Scalars.Of(float.NaN)));
        parameter.DetachFromDisposeScope();
        register_parameter(name, parameter);
        return parameter;
    }
}

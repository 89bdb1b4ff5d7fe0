using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>Which <see cref="MaeDecoder"/>.</summary>
/// <param name="Width">Length of its tokens, divisible by 4 for the positions.</param>
/// <param name="Depth">Blocks, at least 1.</param>
/// <param name="Heads">Attention heads; they divide the width.</param>
/// <param name="MlpRatio">Width of a block's hidden layer over that of a token.</param>
/// <param name="NormEpsilon">ε of the layer normalisations.</param>
public sealed record MaeDecoderOptions(int Width, int Depth, int Heads, double MlpRatio, double NormEpsilon);

/// <summary>
/// MAE's decoder (He et al. 2022, section 3): the encoder's CLS and visible tokens through a linear layer, the mask token in the place of each hidden patch,
/// fixed sine-cosine positions (none for CLS), transformer blocks, normalisation, and a linear layer to the values of a patch. Linear weights
/// and the mask token start (truncated) normal with deviation 0.02 (the authors' code takes Xavier's rule for linear layers).
/// </summary>
/// <remarks>
/// Tokens stay in the order of the mask, visible ones first, and their positions are taken in that order: attention does not see the order of
/// a sequence, so nothing has to be put back in its place, and the hidden ones are the last.
/// </remarks>
public sealed class MaeDecoder : nn.Module, IInitialised
{
    private readonly (int Rows, int Columns) grid;
    private readonly int width;
    private readonly LinearLayer embed;
    private readonly TransformerBlock[] blocks;
    private readonly TokenNorm norm;
    private readonly LinearLayer pred;
    private Parameter mask_token;
    private Tensor pos_table;

    /// <param name="inputs">Length of the encoder's tokens.</param>
    /// <param name="options">Which decoder; weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</param>
    /// <param name="grid">Patches that positions are made for; of other grids they are interpolated, as the encoder's are.</param>
    /// <param name="outputs">Values of a patch.</param>
    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public MaeDecoder(int inputs, MaeDecoderOptions options, (int Rows, int Columns) grid, int outputs)
        : base(nameof(MaeDecoder))
    {
        if (options.Depth < 1)
        {
            throw new ArgumentException($"MAE's decoder needs at least one block; received depth {options.Depth}.", nameof(options));
        }

        this.grid = grid;
        width = options.Width;
        var block = new TransformerBlockOptions(width, options.Heads, options.MlpRatio, QkvBias: true, options.NormEpsilon, LayerScale: null, DropPath: 0, Causal: false);
        using (NewDisposeScope())
        {
            pos_table = PositionTable.SinCos(grid.Rows, grid.Columns, width).DetachFromDisposeScope();
            register_buffer(nameof(pos_table), pos_table, false);
            mask_token = new Parameter(full(1, 1, width, Scalars.Of(float.NaN)));
            mask_token.DetachFromDisposeScope();
            register_parameter(nameof(mask_token), mask_token);
        }

        embed = new LinearLayer(inputs, width, true, TransformerBlock.Deviation);
        blocks = [.. Enumerable.Range(0, options.Depth).Select(_ => new TransformerBlock(block))];
        norm = new TokenNorm(width, options.NormEpsilon);
        pred = new LinearLayer(width, outputs, true, TransformerBlock.Deviation);
        register_module(nameof(embed), embed);
        register_module(nameof(blocks), nn.ModuleList(blocks));
        register_module(nameof(norm), norm);
        register_module(nameof(pred), pred);
    }

    /// <summary>The values of the hidden patches.</summary>
    /// <param name="tokens">(N, 1 + V, inputs): CLS, then the visible patches in the order of the mask.</param>
    /// <param name="order">(N, P) int64: patches, visible ones first.</param>
    /// <param name="patches">Patches along height and width.</param>
    /// <returns>(N, P − V, outputs), in the order of the mask.</returns>
    public Tensor Predict(Tensor tokens, Tensor order, (int Rows, int Columns) patches)
    {
        using var scope = NewDisposeScope();
        var visible = tokens.size(1) - 1;
        return Values(Decode(tokens, order, patches).narrow(1, 1 + visible, order.size(1) - visible)).MoveToOuterDisposeScope();
    }

    /// <summary>CLS and all patches after the last block, in the order of the mask.</summary>
    /// <inheritdoc cref="Predict"/>
    /// <returns>(N, 1 + P, width), not normalised.</returns>
    /// <exception cref="ArgumentException">Shapes that do not fit each other.</exception>
    public Tensor Decode(Tensor tokens, Tensor order, (int Rows, int Columns) patches)
    {
        if (order.shape is not [var n, var all] || all != (long)patches.Rows * patches.Columns || tokens.shape is not [var count, > 0, _] || count != n || tokens.size(1) > all)
        {
            throw new ArgumentException(
                $"expected (N, 1 + visible, inputs) and (N, {patches.Rows} · {patches.Columns}) with at least one hidden patch; received ({string.Join(", ", tokens.shape)}) and ({string.Join(", ", order.shape)})",
                nameof(tokens));
        }

        using var scope = NewDisposeScope();
        var visible = tokens.size(1) - 1;
        var table = PositionTable.Resize(pos_table.to(mask_token.dtype, mask_token.device), grid, patches); // (1, P, width)
        var positions = table.squeeze(0).index_select(0, order.flatten()).view(n, all, width);
        var seen = embed.call(tokens);
        var x = cat(
            [
                seen.narrow(1, 0, 1),
                seen.narrow(1, 1, visible).add(positions.narrow(1, 0, visible)),
                mask_token.add(positions.narrow(1, visible, all - visible)),
            ],
            1);
        foreach (var block in blocks)
        {
            x = block.call(x);
        }

        return x.MoveToOuterDisposeScope();
    }

    /// <summary>The values that tokens stand for.</summary>
    /// <param name="tokens">(N, M, width), from <see cref="Decode"/>.</param>
    /// <returns>(N, M, outputs).</returns>
    public Tensor Values(Tensor tokens)
    {
        using var normed = norm.call(tokens);
        return pred.call(normed);
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new TruncatedNormalValue(TransformerBlock.Deviation);
}

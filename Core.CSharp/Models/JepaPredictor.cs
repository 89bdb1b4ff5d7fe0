using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>Choices of <see cref="JepaPredictor"/>.</summary>
/// <param name="Width">Length of its tokens, divisible by 4; the paper's is half the encoder's or less.</param>
/// <param name="Depth">Blocks, at least 1.</param>
/// <param name="Heads">Attention heads; they divide the width.</param>
public sealed record JepaPredictorOptions(int Width, int Depth, int Heads);

/// <summary>
/// I-JEPA's predictor (Assran et al. 2023, section 3 and appendix A): a narrow transformer that is given the context's tokens and, for each patch of a
/// target block, one learned token with that patch's position, and makes of the latter what the target encoder should say there. Positions are fixed
/// sines and cosines. Each block is predicted by itself: blocks do not see each other.
/// </summary>
/// <remarks>
/// Weights start truncated normal with deviation 0.02, biases at zero, and are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// The MLP is four times as wide as a token, ε of the normalisations 1e-6, as the authors have them.
/// </remarks>
public sealed class JepaPredictor : nn.Module, IInitialised
{
    private const double MlpRatio = 4;
    private const double NormEpsilon = 1e-6;

    private readonly (int Rows, int Columns) grid;
    private readonly int outputs;
    private readonly LinearLayer embed;
    private readonly TransformerBlock[] blocks;
    private readonly TokenNorm norm;
    private readonly LinearLayer proj;
    private Parameter mask_token;
    private Tensor pos_table;

    /// <param name="inputs">Length of the encoder's tokens, in and out.</param>
    /// <param name="grid">Patches along height and width that positions are made for; for other grids they are interpolated, as the encoder's are.</param>
    /// <param name="options">Everything else.</param>
    /// <exception cref="ArgumentException">A count below 1, or a width that the heads or 4 do not divide.</exception>
    public JepaPredictor(int inputs, (int Rows, int Columns) grid, JepaPredictorOptions options)
        : base(nameof(JepaPredictor))
    {
        if (inputs < 1 || options.Depth < 1)
        {
            throw new ArgumentException($"A predictor needs tokens of at least 1 feature and at least one block; received {inputs} features, depth {options.Depth}.", nameof(options));
        }

        this.grid = grid;
        outputs = inputs;
        embed = new LinearLayer(inputs, options.Width, true, TransformerBlock.Deviation);
        blocks =
        [
            .. Enumerable.Range(0, options.Depth).Select(_ =>
                new TransformerBlock(new TransformerBlockOptions(options.Width, options.Heads, MlpRatio, true, NormEpsilon, null, 0, Causal: false))),
        ];
        norm = new TokenNorm(options.Width, NormEpsilon);
        proj = new LinearLayer(options.Width, inputs, true, TransformerBlock.Deviation);

        using var scope = NewDisposeScope();
        mask_token = new Parameter(full(1, 1, options.Width, Scalars.Of(float.NaN)));
        mask_token.DetachFromDisposeScope();
        register_parameter(nameof(mask_token), mask_token);
        pos_table = PositionTable.SinCos(grid.Rows, grid.Columns, options.Width).DetachFromDisposeScope();
        register_buffer(nameof(pos_table), pos_table, false);
        register_module(nameof(embed), embed);
        register_module(nameof(blocks), nn.ModuleList(blocks));
        register_module(nameof(norm), norm);
        register_module(nameof(proj), proj);
    }

    /// <summary>The target encoder's tokens, as far as the context tells.</summary>
    /// <param name="context">(N, Kc, inputs): the context encoder's tokens.</param>
    /// <param name="seen">(N, Kc) int64: their patches, counted row by row.</param>
    /// <param name="wanted">(N, M·Kt) int64: the patches to predict, block by block.</param>
    /// <param name="blockCount">M.</param>
    /// <param name="patches">Rows and columns of patches that the indices count.</param>
    /// <returns>(N, M·Kt, inputs), in the order of <paramref name="wanted"/>.</returns>
    /// <exception cref="ArgumentException">Shapes that do not fit each other.</exception>
    public Tensor Predict(Tensor context, Tensor seen, Tensor wanted, int blockCount, (int Rows, int Columns) patches)
    {
        var (n, kc) = (context.size(0), context.size(1));
        if (context.dim() != 3 || context.size(2) != outputs || seen.dim() != 2 || seen.size(0) != n || seen.size(1) != kc
            || wanted.dim() != 2 || wanted.size(0) != n || blockCount < 1 || wanted.size(1) % blockCount != 0)
        {
            throw new ArgumentException(
                $"expected (N, Kc, {outputs}), (N, Kc) and (N, {blockCount}·Kt), received ({string.Join(", ", context.shape)}), ({string.Join(", ", seen.shape)}) "
                + $"and ({string.Join(", ", wanted.shape)})",
                nameof(context));
        }

        using var scope = NewDisposeScope();
        var kt = wanted.size(1) / blockCount;
        var table = PositionTable.Resize(pos_table.to(mask_token.dtype, mask_token.device), grid, patches).squeeze(0); // (P, width)
        var width = table.size(1);
        var shown = embed.call(context).add_(At(table, seen))
            .unsqueeze(1).expand(n, blockCount, kc, width).reshape(n * blockCount, kc, width);
        var masks = mask_token.add(At(table, wanted).view(n * blockCount, kt, width));
        var x = cat([masks, shown], 1); // (N·M, Kt + Kc, width)
        for (var i = 0; i < blocks.Length; i++)
        {
            x = i + 1 < blocks.Length ? blocks[i].call(x) : blocks[i].Leading(x, kt); // of the last one, only predictions are asked for
        }

        return proj.call(norm.call(x)).reshape(n, blockCount * kt, outputs).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new TruncatedNormalValue(TransformerBlock.Deviation);

    /// <summary>Rows of a table: (P, width) and (N, K) to (N, K, width).</summary>
    private static Tensor At(Tensor table, Tensor patches) =>
        table.index_select(0, patches.flatten()).view(patches.size(0), patches.size(1), table.size(1));
}

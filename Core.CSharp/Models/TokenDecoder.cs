using SslResearch.Core.Runtime;
using SslResearch.Core.Models.Layers;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// From words at the positions of a map back to pixels: a vector for each word (the codebook, starting standard normal), then stages of residual
/// blocks, each stage on a map twice as high and wide as the one before (every position repeated), then one linear layer at every pixel.
/// Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class TokenDecoder : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly int codeWidth;
    private readonly ResidualUnit[][] stages;
    private readonly LinearLayer last;
    private Parameter codebook;

    /// <param name="vocabulary">V.</param>
    /// <param name="codeWidth">D: length of a word's vector.</param>
    /// <param name="widths">Channels of each stage, from the words' map to the pixels.</param>
    /// <param name="blocks">Residual blocks of each stage.</param>
    /// <param name="outputs">Values at each pixel.</param>
    /// <exception cref="ArgumentException">No stage, or a count below 1.</exception>
    public TokenDecoder(int vocabulary, int codeWidth, IReadOnlyList<int> widths, int blocks, int outputs)
        : base(nameof(TokenDecoder))
    {
        if (widths.Count == 0 || widths.Concat([vocabulary, codeWidth, blocks, outputs]).Any(n => n < 1))
        {
            throw new ArgumentException(
                $"A decoder of tokens needs a stage, and counts of at least 1; received {vocabulary} words of {codeWidth} channels, stages [{string.Join("; ", widths)}] of {blocks} blocks, {outputs} outputs.",
                nameof(widths));
        }

        this.codeWidth = codeWidth;
        stages = new ResidualUnit[widths.Count][];
        var channels = codeWidth;
        for (var s = 0; s < stages.Length; s++)
        {
            stages[s] = new ResidualUnit[blocks];
            for (var b = 0; b < blocks; b++)
            {
                stages[s][b] = new ResidualUnit(ResidualBlock.Basic, channels, widths[s], 1);
                channels = widths[s];
            }

            register_module($"stage{s + 1}", nn.ModuleList(stages[s]));
        }

        last = new LinearLayer(channels, outputs, hasBias: true);
        register_module(nameof(last), last);
        using var scope = NewDisposeScope();
        codebook = new Parameter(full(vocabulary, codeWidth, Scalars.Of(float.NaN)));
        codebook.DetachFromDisposeScope();
        register_parameter(nameof(codebook), codebook);
    }

    /// <summary>Pixels along the side of a word.</summary>
    public int Factor => 1 << (stages.Length - 1);

    /// <summary>Vectors of mixtures of words.</summary>
    /// <param name="assignment">(M, V), rows sum to 1.</param>
    /// <returns>(M, D).</returns>
    public Tensor Mix(Tensor assignment) => MatrixProduct.Linear(assignment, codebook.t());

    /// <summary>Vectors of words.</summary>
    /// <param name="tokens">(M) int64.</param>
    /// <returns>(M, D).</returns>
    public Tensor Look(Tensor tokens) => codebook.index_select(0, tokens);

    /// <summary>Pixels of vectors that lie image by image and row by row.</summary>
    /// <param name="codes">(N·h·w, D).</param>
    /// <param name="rows">h.</param>
    /// <param name="columns">w.</param>
    /// <returns>(N, outputs, F·h, F·w), F = <see cref="Factor"/>.</returns>
    public Tensor Draw(Tensor codes, int rows, int columns)
    {
        using var scope = NewDisposeScope();
        return call(codes.reshape(-1, rows, columns, codeWidth).permute(0, 3, 1, 2)).MoveToOuterDisposeScope();
    }

    /// <summary>(N, D, h, w) to (N, outputs, F·h, F·w).</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        for (var s = 0; s < stages.Length; s++)
        {
            x = s == 0 ? x : Doubled(x);
            foreach (var unit in stages[s])
            {
                x = unit.call(x);
            }
        }

        return last.call(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new NormalValue(1);

    /// <summary>Every position four times, channels innermost in memory.</summary>
    private static Tensor Doubled(Tensor map)
    {
        var (n, channels, rows, columns) = (map.size(0), map.size(1), map.size(2), map.size(3));
        return map.permute(0, 2, 3, 1)
            .reshape(n, rows, 1, columns, 1, channels)
            .expand(n, rows, 2, columns, 2, channels)
            .reshape(n, 2 * rows, 2 * columns, channels)
            .permute(0, 3, 1, 2);
    }
}

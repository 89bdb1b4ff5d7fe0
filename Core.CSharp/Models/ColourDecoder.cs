using SslResearch.Core.Models.Layers;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// From an encoder's feature map to a vector for each position of a larger map: any number of doublings (transposed convolution, batch norm,
/// ReLU), then one linear layer at every position. Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class ColourDecoder : nn.Module<Tensor, Tensor>
{
    private readonly (TransposedConvLayer Conv, NormLayer Norm)[] doublings;
    private readonly LinearLayer last;

    /// <param name="inputs">Channels of the feature map.</param>
    /// <param name="widths">Channels after each doubling; may be empty.</param>
    /// <param name="outputs">Length of the vector at each position.</param>
    /// <exception cref="ArgumentException">A count below 1.</exception>
    public ColourDecoder(int inputs, IReadOnlyList<int> widths, int outputs)
        : base(nameof(ColourDecoder))
    {
        if (widths.Append(inputs).Append(outputs).Any(w => w < 1))
        {
            throw new ArgumentException($"Widths of a decoder are at least 1; received {inputs} → [{string.Join("; ", widths)}] → {outputs}.", nameof(widths));
        }

        doublings = [.. widths.Select((w, i) => (new TransposedConvLayer(i == 0 ? inputs : widths[i - 1], w), new NormLayer(w, relu: true)))];
        for (var i = 0; i < doublings.Length; i++)
        {
            register_module($"up{i + 1}", doublings[i].Conv);
            register_module($"bn{i + 1}", doublings[i].Norm);
        }

        last = new LinearLayer(widths.Count == 0 ? inputs : widths[^1], outputs, hasBias: true);
        register_module(nameof(last), last);
    }

    /// <summary>How many times the result is as high and wide as the feature map.</summary>
    public int Factor => 1 << doublings.Length;

    /// <summary>(N, in, h, w) to (N, F·h, F·w, out) with F = <see cref="Factor"/>.</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        foreach (var (conv, norm) in doublings)
        {
            x = norm.call(conv.call(x));
        }

        return last.call(x.permute(0, 2, 3, 1)).MoveToOuterDisposeScope();
    }
}

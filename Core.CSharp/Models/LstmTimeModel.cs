using SslResearch.Core.Models.Layers;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>Layers of <see cref="LstmLayer"/>, each on the states of the one before. Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
public sealed class LstmTimeModel : TimeModel
{
    private readonly LstmLayer[] layers;

    /// <param name="inputs">Length of what comes in at each step.</param>
    /// <param name="options">Width and layers.</param>
    /// <exception cref="ArgumentException">A count below 1.</exception>
    public LstmTimeModel(int inputs, LstmOptions options)
        : base(nameof(LstmTimeModel))
    {
        if (inputs < 1 || options.Width < 1 || options.Layers < 1)
        {
            throw new ArgumentException($"An LSTM needs at least one input, one layer and width 1; received {inputs} inputs, {options.Layers} layers, width {options.Width}.", nameof(options));
        }

        FeatureCount = options.Width;
        layers = [.. Enumerable.Range(0, options.Layers).Select(i => new LstmLayer(i == 0 ? inputs : options.Width, options.Width))];
        register_module(nameof(layers), nn.ModuleList(layers));
    }

    /// <inheritdoc/>
    public override int FeatureCount { get; }

    /// <summary>(M, T, in) to (M, T, width).</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        foreach (var layer in layers)
        {
            x = layer.call(x);
        }

        return x.MoveToOuterDisposeScope();
    }
}

using SslResearch.Core.Models.Layers;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// Maps features h to the space of the loss. Layers are named by their index in the sequence Linear, BatchNorm, ReLU, …, Linear,
/// ReLUs counted, as peers' <c>nn.Sequential</c> names them. Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.
/// </summary>
public sealed class ProjectionHead : nn.Module<Tensor, Tensor>
{
    private readonly List<(nn.Module<Tensor, Tensor> Layer, bool Relu)> layers = [];

    private ProjectionHead(int inputs, MlpProjection options)
        : base(nameof(ProjectionHead))
    {
        if (options.Hidden.Append(options.Outputs).Append(inputs).Any(w => w < 1))
        {
            throw new ArgumentException($"Widths of a projector are at least 1; received {inputs} → [{string.Join("; ", options.Hidden)}] → {options.Outputs}.", nameof(options));
        }

        FeatureCount = options.Outputs;
        var position = 0;
        var width = inputs;
        foreach (var hidden in options.Hidden)
        {
            Add(new LinearLayer(width, hidden, options.HiddenBias), relu: !options.HiddenNorm, ref position);
            if (options.HiddenNorm)
            {
                Add(new NormLayer(hidden, relu: true), relu: false, ref position);
            }

            position++; // the ReLU
            width = hidden;
        }

        Add(new LinearLayer(width, options.Outputs, options.OutputBias), relu: false, ref position);
        if (options.OutputNorm != OutputNorm.None)
        {
            Add(new NormLayer(options.Outputs, relu: false, affine: options.OutputNorm == OutputNorm.Affine), relu: false, ref position);
        }
    }

    /// <summary>Length of z.</summary>
    public int FeatureCount { get; }

    /// <summary>Builds the head that the options describe; null for <see cref="NoProjection"/>.</summary>
    /// <param name="inputs">Length of h.</param>
    /// <param name="options">Which head.</param>
    /// <exception cref="ArgumentException">A width below 1, or options of an unknown kind.</exception>
    public static ProjectionHead? Create(int inputs, ProjectionOptions options) => options switch
    {
        NoProjection => null,
        LinearProjection linear => new ProjectionHead(inputs, new MlpProjection([], linear.Outputs, false, false, linear.Bias, OutputNorm.None)),
        MlpProjection mlp => new ProjectionHead(inputs, mlp),
        _ => throw new ArgumentException($"Unknown projection {options.GetType().Name}.", nameof(options)),
    };

    /// <summary>(N, d) to (N, <see cref="FeatureCount"/>).</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var x = input;
        foreach (var (layer, relu) in layers)
        {
            x = layer.call(x);
            if (relu)
            {
                x = x.relu_();
            }
        }

        return x.MoveToOuterDisposeScope();
    }

    private void Add(nn.Module<Tensor, Tensor> layer, bool relu, ref int position)
    {
        layers.Add((layer, relu));
        register_module($"{position++}", layer);
    }
}

using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>Choices of <see cref="DinoHead"/>.</summary>
/// <param name="Layers">Linear layers before the prototypes, at least 1.</param>
/// <param name="Hidden">Width of all but the last of them.</param>
/// <param name="Bottleneck">Length of the vectors that are compared with prototypes.</param>
/// <param name="Prototypes">K, at least 2.</param>
/// <param name="BatchNorm">Whether hidden layers are batch-normalised before their GELU.</param>
public sealed record DinoHeadOptions(int Layers, int Hidden, int Bottleneck, int Prototypes, bool BatchNorm);

/// <summary>
/// DINO's head (Caron et al. 2021, appendix C): linear layers with GELU between, the result scaled to length 1, then a linear layer without bias
/// whose weights are normalised by row with a gain fixed at 1, so that scores are cosines. Linear layers start truncated-normal with deviation 0.02
/// and bias 0, the prototypes uniform on ±1/√b, as in the authors' code. Names are that code's, without the fixed gain.
/// </summary>
public sealed class DinoHead : nn.Module<Tensor, Tensor>
{
    private readonly Mlp mlp;
    private readonly UnitLinear prototypes;

    /// <param name="inputs">Length of h.</param>
    /// <param name="options">Which head; weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</param>
    /// <exception cref="ArgumentException">A width below 1, no layer, or fewer than two prototypes.</exception>
    public DinoHead(int inputs, DinoHeadOptions options)
        : base(nameof(DinoHead))
    {
        if (inputs < 1 || options.Layers < 1 || options.Hidden < 1 || options.Bottleneck < 1 || options.Prototypes < 2)
        {
            throw new ArgumentException($"A DINO head needs widths and layers of at least 1 and 2 prototypes; received {inputs} inputs, {options}.", nameof(options));
        }

        mlp = new Mlp(inputs, options);
        prototypes = new UnitLinear(options.Bottleneck, options.Prototypes);
        register_module("mlp", mlp);
        register_module("last_layer", prototypes);
    }

    /// <summary>The layers before the prototypes: h (N, d) to (N, b), of any length.</summary>
    public nn.Module<Tensor, Tensor> Bottleneck => mlp;

    /// <summary>(N, d) to (N, K) scores.</summary>
    public override Tensor forward(Tensor input)
    {
        using var unit = Unit(input);
        return Scores(unit, frozen: false);
    }

    /// <summary>(N, d) to (N, b), rows of length 1.</summary>
    public Tensor Unit(Tensor input)
    {
        using var vectors = mlp.call(input);
        return UnitRows.Of(vectors);
    }

    /// <summary>Cosines with the prototypes.</summary>
    /// <param name="unit">(N, b), from <see cref="Unit"/>.</param>
    /// <param name="frozen">Whether the prototypes get no gradient.</param>
    /// <returns>(N, K).</returns>
    public Tensor Scores(Tensor unit, bool frozen) => prototypes.Scores(unit, frozen);

    private sealed class Mlp : nn.Module<Tensor, Tensor>
    {
        private const double Deviation = 0.02;

        private readonly List<(nn.Module<Tensor, Tensor> Layer, bool Activated)> layers = [];

        public Mlp(int inputs, DinoHeadOptions options)
            : base(nameof(Mlp))
        {
            // Positions as in the authors' nn.Sequential, GELUs counted.
            var position = 0;
            var width = inputs;
            for (var i = 1; i < options.Layers; i++)
            {
                Add(new LinearLayer(width, options.Hidden, hasBias: true, Deviation), !options.BatchNorm, ref position);
                if (options.BatchNorm)
                {
                    Add(new NormLayer(options.Hidden, relu: false), activated: true, ref position);
                }

                position++; // the GELU
                width = options.Hidden;
            }

            Add(new LinearLayer(width, options.Bottleneck, hasBias: true, Deviation), activated: false, ref position);
        }

        public override Tensor forward(Tensor input)
        {
            using var scope = NewDisposeScope();
            var x = input;
            foreach (var (layer, activated) in layers)
            {
                x = layer.call(x);
                x = activated ? nn.functional.gelu(x) : x;
            }

            return x.MoveToOuterDisposeScope();
        }

        private void Add(nn.Module<Tensor, Tensor> layer, bool activated, ref int position)
        {
            layers.Add((layer, activated));
            register_module($"{position++}", layer);
        }
    }

    /// <summary>y = x·(v/|v|)ᵀ row by row.</summary>
    private sealed class UnitLinear : nn.Module<Tensor, Tensor>, IInitialised
    {
        private readonly double bound;
        private Parameter weight_v;

        public UnitLinear(int inputs, int outputs)
            : base(nameof(UnitLinear))
        {
            bound = 1 / Math.Sqrt(inputs);
            using var scope = NewDisposeScope();
            weight_v = new Parameter(full(outputs, inputs, Scalars.Of(float.NaN)));
            weight_v.DetachFromDisposeScope();
            register_parameter(nameof(weight_v), weight_v);
        }

        public override Tensor forward(Tensor input) => Scores(input, frozen: false);

        public Tensor Scores(Tensor input, bool frozen)
        {
            using var scope = NewDisposeScope();
            var weight = UnitRows.Of(frozen ? weight_v.detach() : weight_v);
            return MatrixProduct.Linear(input, weight).MoveToOuterDisposeScope();
        }

        public InitialValue Initial(string parameter, Tensor value) => new UniformValue(bound);
    }
}

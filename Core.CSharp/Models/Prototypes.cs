using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// K learned vectors of length 1 that embeddings are compared with: a linear layer without bias whose rows are scaled back to length 1 after each
/// update (Caron et al. 2020, section 3.1). They start uniform on the sphere; weights are NaN until then.
/// </summary>
public sealed class Prototypes : nn.Module<Tensor, Tensor>, IInitialised
{
    // Rows shorter than this are divided by it.
    private const double NormFloor = 1e-12;

    private readonly int inputs;
    private Parameter weight;

    /// <param name="inputs">Length d of an embedding.</param>
    /// <param name="count">K, at least 2.</param>
    /// <exception cref="ArgumentException">Fewer than two prototypes.</exception>
    public Prototypes(int inputs, int count)
        : base(nameof(Prototypes))
    {
        if (count < 2 || inputs < 1)
        {
            throw new ArgumentException($"At least 2 prototypes of length 1 or more; received {count} of length {inputs}.", nameof(count));
        }

        this.inputs = inputs;
        using var scope = NewDisposeScope();
        weight = new Parameter(full(count, inputs, Scalars.Of(float.NaN)));
        weight.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
    }

    /// <summary>(M, d) embeddings of length 1 to (M, K) cosines.</summary>
    public override Tensor forward(Tensor input) => Scores(input, frozen: false);

    /// <summary>The same, optionally without a gradient for the prototypes.</summary>
    /// <param name="embeddings">(M, d).</param>
    /// <param name="frozen">Whether the prototypes get no gradient.</param>
    public Tensor Scores(Tensor embeddings, bool frozen)
    {
        if (embeddings.shape is not [_, var width] || width != inputs)
        {
            throw new ArgumentException($"expected (M, {inputs}), received ({string.Join(", ", embeddings.shape)})", nameof(embeddings));
        }

        using var detached = frozen ? weight.detach() : null;
        return MatrixProduct.Linear(embeddings, detached ?? weight);
    }

    /// <summary>Scales each prototype to length 1, in place.</summary>
    public void Normalise()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        weight.div_(weight.norm(1, keepdim: true, p: 2).clamp_(min: Scalars.Of(NormFloor)));
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new UnitRowsValue(inputs);
}

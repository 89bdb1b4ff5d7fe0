using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// What SimMIM adds to an encoder (Xie et al. 2022): what stands in the place of hidden patches, and one linear layer from a position's features to the
/// pixels of its square. As a 1×1 convolution and a pixel shuffle, up to the order of the outputs. The stand-in starts truncated normal
/// with deviation 0.02, the layer as PyTorch's default, as in the authors' code.
/// </summary>
public sealed class PixelHead : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly LinearLayer pred;
    private Parameter mask_token;

    /// <param name="inputs">Features of a position.</param>
    /// <param name="outputs">Values of its square.</param>
    /// <param name="standIn">Shape of what stands in the place of hidden patches; weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</param>
    public PixelHead(int inputs, int outputs, params long[] standIn)
        : base(nameof(PixelHead))
    {
        using (NewDisposeScope())
        {
            mask_token = new Parameter(full(standIn, Scalars.Of(float.NaN)));
            mask_token.DetachFromDisposeScope();
            register_parameter(nameof(mask_token), mask_token);
        }

        pred = new LinearLayer(inputs, outputs, hasBias: true);
        register_module(nameof(pred), pred);
    }

    /// <summary>(…, in) to (…, out).</summary>
    public override Tensor forward(Tensor input) => pred.call(input);

    /// <summary>The stand-in where something is hidden, the rest as it is.</summary>
    /// <param name="input">A shape that the stand-in's broadcasts to.</param>
    /// <param name="hidden">bool, likewise.</param>
    /// <returns>The input's shape.</returns>
    public Tensor Replace(Tensor input, Tensor hidden) => where(hidden, mask_token, input);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new TruncatedNormalValue(TransformerBlock.Deviation);
}

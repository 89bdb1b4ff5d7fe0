using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// What masked token prediction adds to a vision transformer (Bao et al. 2022): a learned vector in place of hidden patches and a linear layer that
/// scores the words of a vocabulary. Vector and weights start truncated normal with deviation 0.02, the bias at 0; names as in the authors' code.
/// </summary>
public sealed class MaskedTokenHead : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly LinearLayer head;
    private Parameter mask_token;

    /// <param name="width">Length of a token.</param>
    /// <param name="vocabulary">V.</param>
    /// <exception cref="ArgumentException">A count below 1.</exception>
    public MaskedTokenHead(int width, int vocabulary)
        : base(nameof(MaskedTokenHead))
    {
        if (width < 1 || vocabulary < 1)
        {
            throw new ArgumentException($"Width and vocabulary are at least 1; received {width} and {vocabulary}.", nameof(vocabulary));
        }

        head = new LinearLayer(width, vocabulary, hasBias: true, TransformerBlock.Deviation);
        register_module("lm_head", head);
        using var scope = NewDisposeScope();
        mask_token = new Parameter(full(1, 1, width, Scalars.Of(float.NaN)));
        mask_token.DetachFromDisposeScope();
        register_parameter(nameof(mask_token), mask_token);
    }

    /// <summary>Patches of which some are replaced by the learned vector.</summary>
    /// <param name="patches">(N, P, width), before positions are added.</param>
    /// <param name="hidden">(N, H) int64: which.</param>
    /// <returns>(N, P, width).</returns>
    public Tensor Hide(Tensor patches, Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var mask = zeros(patches.size(0), patches.size(1), patches.dtype, patches.device).scatter_(1, hidden, ones_like(hidden).to(patches.dtype)); // (N, P)
        return where(mask.unsqueeze(2).gt(Scalars.Of(0)), mask_token, patches).MoveToOuterDisposeScope();
    }

    /// <summary>(M, width) to (M, V).</summary>
    public override Tensor forward(Tensor input) => head.call(input);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new TruncatedNormalValue(TransformerBlock.Deviation);
}

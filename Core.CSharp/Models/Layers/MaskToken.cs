using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>One learned vector in the place of every hidden patch. It starts at 0, as in iBOT's and DINOv2's code.</summary>
public sealed class MaskToken : nn.Module<Tensor, Tensor, Tensor>, IInitialised
{
    private Parameter mask_token;

    /// <param name="width">Length of a token.</param>
    public MaskToken(int width)
        : base(nameof(MaskToken))
    {
        using var scope = NewDisposeScope();
        mask_token = new Parameter(full(1, 1, width, Scalars.Of(float.NaN)));
        mask_token.DetachFromDisposeScope();
        register_parameter(nameof(mask_token), mask_token);
    }

    /// <summary>Puts the vector where patches are hidden; dense, so that no count leaves the device.</summary>
    /// <param name="patches">(N, P, width), positions not yet added.</param>
    /// <param name="mask">(N, P) of the same type: 1 for hidden patches, 0 for others.</param>
    /// <returns>(N, P, width).</returns>
    public override Tensor forward(Tensor patches, Tensor mask)
    {
        using var place = mask.unsqueeze(2);
        return patches.lerp(mask_token, place); // exact at 0 and 1
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new ConstantValue(0f);
}

using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>A learned factor for each channel (LayerScale, Touvron et al. 2021, "Going deeper with image transformers").</summary>
public sealed class BranchScale : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly double initial;
    private Parameter gamma;

    /// <param name="width">Channels.</param>
    /// <param name="initial">Where all factors start.</param>
    public BranchScale(int width, double initial)
        : base(nameof(BranchScale))
    {
        this.initial = initial;
        using var scope = NewDisposeScope();
        gamma = new Parameter(full(width, Scalars.Of(float.NaN)));
        gamma.DetachFromDisposeScope();
        register_parameter(nameof(gamma), gamma);
    }

    /// <summary>(…, width).</summary>
    public override Tensor forward(Tensor input) => input.mul(gamma);

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new ConstantValue((float)initial);
}

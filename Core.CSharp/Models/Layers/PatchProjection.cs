using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// One token for each square patch of an image: a convolution whose kernel is its stride, computed as one matrix product over patches.
/// Weight (out, in, p, p) and bias start uniform on ±1/√(in·p²), PyTorch's default for convolutions, which DINO and timm leave as it is.
/// </summary>
public sealed class PatchProjection : nn.Module<Tensor, Tensor>, IInitialised
{
    private readonly int patch;
    private Parameter weight;
    private Parameter bias;

    /// <summary>Weights are NaN until <see cref="SeededInitialisation"/> or a checkpoint sets them.</summary>
    public PatchProjection(int channels, int patch, int width)
        : base(nameof(PatchProjection))
    {
        this.patch = patch;
        using var scope = NewDisposeScope();
        weight = new Parameter(full(width, channels, patch, patch, Scalars.Of(float.NaN)));
        bias = new Parameter(full(width, Scalars.Of(float.NaN)));
        weight.DetachFromDisposeScope();
        bias.DetachFromDisposeScope();
        register_parameter(nameof(weight), weight);
        register_parameter(nameof(bias), bias);
    }

    /// <summary>(N, C, H, W), sides divisible by the patch, to (N, H/p · W/p, out), patches row by row.</summary>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        var (n, channels, rows, columns) = (input.shape[0], input.shape[1], input.shape[2] / patch, input.shape[3] / patch);
        var patches = input.reshape(n, channels, rows, patch, columns, patch)
            .permute(0, 2, 4, 1, 3, 5) // (N, h, w, C, p, p)
            .reshape(n, rows * columns, channels * patch * patch);
        return MatrixProduct.Linear(patches, weight.flatten(1), bias).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new UniformValue(1 / Math.Sqrt((double)weight.numel() / weight.shape[0]));
}

using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Losses of methods that predict the pixels of hidden patches: mean squared error (MAE, He et al. 2022, section 3) and mean absolute error (SimMIM,
/// Xie et al. 2022, section 3.4), both over hidden patches alone. A patch is the vector of its pixels row by row, the channels of a pixel beside each
/// other.
/// </summary>
public static class MaskedPatchLoss
{
    /// <summary>Added to a patch's variance, as in the authors' code.</summary>
    public const double Epsilon = 1e-6;

    /// <summary>The patches of images.</summary>
    /// <param name="images">(N, C, H, W).</param>
    /// <param name="patch">p, a divisor of both sides.</param>
    /// <returns>(N, H/p · W/p, p·p·C): patches row by row, in each its pixels row by row, in each its channels.</returns>
    /// <exception cref="ArgumentException">Another shape, or a side that the patch does not divide.</exception>
    public static Tensor Patchify(Tensor images, int patch)
    {
        if (patch < 1 || images.shape is not [var n, var channels, var height, var width] || height % patch != 0 || width % patch != 0)
        {
            throw new ArgumentException($"expected (N, C, H, W) with sides divisible by the patch of {patch}, received ({string.Join(", ", images.shape)})", nameof(images));
        }

        using var scope = NewDisposeScope();
        return images.reshape(n, channels, height / patch, patch, width / patch, patch)
            .permute(0, 2, 4, 3, 5, 1) // (N, h, w, p, p, C)
            .reshape(n, height / patch * (width / patch), patch * patch * channels)
            .MoveToOuterDisposeScope();
    }

    /// <summary>The images of patches: what <see cref="Patchify"/> took apart.</summary>
    /// <param name="patches">(N, rows · columns, p·p·C).</param>
    /// <param name="patch">p.</param>
    /// <param name="rows">Patches along the height.</param>
    /// <param name="columns">Patches along the width.</param>
    /// <returns>(N, C, rows · p, columns · p).</returns>
    /// <exception cref="ArgumentException">Another shape.</exception>
    public static Tensor Unpatchify(Tensor patches, int patch, int rows, int columns)
    {
        if (patch < 1 || rows < 1 || columns < 1 || patches.shape is not [var n, var count, var values] || count != (long)rows * columns || values < 1 || values % (patch * patch) != 0)
        {
            throw new ArgumentException($"expected (N, {rows} · {columns}, {patch} · {patch} · C), received ({string.Join(", ", patches.shape)})", nameof(patches));
        }

        using var scope = NewDisposeScope();
        var channels = values / (patch * patch);
        return patches.reshape(n, rows, columns, patch, patch, channels)
            .permute(0, 5, 1, 3, 2, 4) // (N, C, h, p, w, p)
            .reshape(n, channels, rows * patch, columns * patch)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Each patch's mean, and the root of its unbiased variance plus <see cref="Epsilon"/> (the authors' code; the paper leaves both open).</summary>
    /// <param name="patches">(…, D), D at least 2.</param>
    /// <returns>Twice (…, 1), without gradient.</returns>
    /// <exception cref="ArgumentException">A patch of one value: it has no variance.</exception>
    public static (Tensor Mean, Tensor Deviation) Statistics(Tensor patches)
    {
        if (patches.dim() < 1 || patches.size(-1) < 2)
        {
            throw new ArgumentException($"expected (…, D) with D at least 2, received ({string.Join(", ", patches.shape)})", nameof(patches));
        }

        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var values = patches.size(-1);
        var mean = patches.mean([-1L], keepdim: true);
        var deviation = patches.sub(mean).square().sum([-1L], keepdim: true).mul_(Scalars.Of(1.0 / (values - 1))).add_(Scalars.Of(Epsilon)).sqrt_();
        return (mean.MoveToOuterDisposeScope(), deviation.MoveToOuterDisposeScope());
    }

    /// <summary>Each patch less its mean, over its deviation (<see cref="Statistics"/>): what MAE predicts by default.</summary>
    /// <param name="patches">(…, D), D at least 2.</param>
    /// <returns>The same shape, without gradient.</returns>
    public static Tensor Normalise(Tensor patches)
    {
        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var (mean, deviation) = Statistics(patches);
        return patches.sub(mean).div_(deviation).MoveToOuterDisposeScope();
    }

    /// <summary>MAE's loss: the mean over hidden patches of the mean over a patch's values of the squared error.</summary>
    /// <param name="prediction">(…, D) float32 or float64: of hidden patches only.</param>
    /// <param name="target">The same shape; no gradient reaches it.</param>
    /// <returns>Scalar with its graph.</returns>
    /// <exception cref="ArgumentException">Shapes that differ, or nothing hidden.</exception>
    public static Tensor MeanSquare(Tensor prediction, Tensor target)
    {
        Check(prediction, target);
        using var scope = NewDisposeScope();
        return prediction.sub(target.detach()).square().mean().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// SimMIM's loss: the sum over hidden pixels and channels of the absolute error, over their number (eq. 1). The authors' code divides by the
    /// hidden pixels plus 1e-5, then by the channels: for M hidden pixels in the batch it is M/(M + 10⁻⁵) of this.
    /// </summary>
    /// <param name="prediction">(…, D) float32 or float64: of hidden patches only.</param>
    /// <param name="target">The same shape; no gradient reaches it.</param>
    /// <returns>Scalar with its graph; the gradient of an exact prediction is 0.</returns>
    /// <exception cref="ArgumentException">Shapes that differ, or nothing hidden.</exception>
    public static Tensor MeanAbsolute(Tensor prediction, Tensor target)
    {
        Check(prediction, target);
        using var scope = NewDisposeScope();
        return prediction.sub(target.detach()).abs().mean().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// <see cref="MeanSquare"/> of predicting 0 for normalised patches of so many values: 1 − 1/D, for the unbiased variance. Patches of one colour,
    /// whose normalised values are all 0, cost nothing there and lower it by their share.
    /// </summary>
    public static double Chance(int values) => 1 - (1.0 / values);

    private static void Check(Tensor prediction, Tensor target)
    {
        if (prediction.numel() == 0 || !prediction.shape.AsSpan().SequenceEqual(target.shape))
        {
            throw new ArgumentException(
                $"expected twice (…, D) of one shape with at least one hidden patch, received ({string.Join(", ", prediction.shape)}) and ({string.Join(", ", target.shape)})",
                nameof(prediction));
        }
    }
}

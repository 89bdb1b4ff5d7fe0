using SslResearch.Core.Augment;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>How near reconstructed images are to the true ones, in pixel units: values from 0 to 1, whatever they were normalised by.</summary>
public static class ReconstructionQuality
{
    private const int ChannelsFromEnd = -3;

    /// <summary>Mean squared error of each image, over all its channels and pixels (and frames).</summary>
    /// <param name="images">(N, …, C, H, W), normalised.</param>
    /// <param name="reconstructions">The same shape, normalised likewise; what leaves 0 … 1 is cut to it, as any image file does.</param>
    /// <param name="normalisation">What both were normalised by.</param>
    /// <returns>N values of 0 or more.</returns>
    /// <exception cref="ArgumentException">Shapes differ, are not (N, …, C, H, W), or have other channels than the normalisation.</exception>
    public static double[] SquaredErrors(Tensor images, Tensor reconstructions, ChannelNormalisation normalisation)
    {
        ArgumentNullException.ThrowIfNull(normalisation);
        if (images.dim() < 4 || images.numel() == 0 || !images.shape.AsSpan().SequenceEqual(reconstructions.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, …, C, H, W), received ({string.Join(", ", images.shape)}) and ({string.Join(", ", reconstructions.shape)})", nameof(reconstructions));
        }

        if (images.size(ChannelsFromEnd) != normalisation.Mean.Count || normalisation.Std.Count != normalisation.Mean.Count)
        {
            throw new ArgumentException(
                $"a normalisation of {normalisation.Mean.Count} means and {normalisation.Std.Count} stds for images of {images.size(ChannelsFromEnd)} channels", nameof(normalisation));
        }

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var errors = Pixels(images, normalisation).sub_(Pixels(reconstructions, normalisation).clamp_(Scalars.Of(0), Scalars.Of(1))).square();
        return errors.flatten(1).mean([1L]).data<double>().ToArray();
    }

    /// <summary>Peak signal-to-noise ratio in decibels, for a peak of 1: −10·log10 of a mean squared error; infinite where that is 0.</summary>
    /// <param name="squaredError">Of values from 0 to 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">Below 0.</exception>
    public static double Psnr(double squaredError)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(squaredError);
        return -10 * Math.Log10(squaredError);
    }

    /// <summary>The ratio of each image by itself, then their mean, as papers report it: not that of the mean error, which is never larger.</summary>
    /// <param name="squaredErrors">One value an image, from <see cref="SquaredErrors"/>.</param>
    /// <exception cref="ArgumentException">No images.</exception>
    public static double MeanPsnr(IReadOnlyCollection<double> squaredErrors)
    {
        ArgumentNullException.ThrowIfNull(squaredErrors);
        return squaredErrors.Count > 0
            ? squaredErrors.Average(Psnr)
            : throw new ArgumentException("expected the error of at least one image, received none", nameof(squaredErrors));
    }

    /// <summary>Values from 0 to 1, in double on the CPU.</summary>
    private static Tensor Pixels(Tensor normalised, ChannelNormalisation normalisation)
    {
        var std = tensor(normalisation.Std.Select(s => (double)s).ToArray()).view(-1, 1, 1);
        var mean = tensor(normalisation.Mean.Select(m => (double)m).ToArray()).view(-1, 1, 1);
        return normalised.detach().cpu().to(ScalarType.Float64).mul(std).add_(mean);
    }
}

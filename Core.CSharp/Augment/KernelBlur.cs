using System.Globalization;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>torchvision's GaussianBlur: a sampled Gaussian of fixed size, edges reflected. Sigma is uniform in its range.</summary>
/// <param name="Size">Taps per axis, odd; half of it must be smaller than the image.</param>
/// <param name="MinSigma">Smallest standard deviation in pixels, above 0.</param>
/// <param name="MaxSigma">Largest.</param>
/// <param name="P">Probability.</param>
public sealed record KernelBlur(int Size, double MinSigma, double MaxSigma, double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems()
    {
        if (Size < 1 || Size % 2 == 0 || Size / 2 > Filter.MaxRadius)
        {
            yield return $"KernelBlur: size {Size} is not an odd number from 1 to {(2 * Filter.MaxRadius) + 1}";
        }

        if (!(MinSigma > 0 && MinSigma <= MaxSigma && double.IsFinite(MaxSigma)))
        {
            yield return $"KernelBlur: sigma range {MinSigma} to {MaxSigma} is not above 0 in rising order";
        }

        foreach (var problem in CheckProbability(nameof(KernelBlur), P))
        {
            yield return problem;
        }
    }

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width)
    {
        var applied = Happens(ref random, P);
        var sigma = (float)random.NextDouble(MinSigma, MaxSigma);
        return applied ? new OpDraw { Applied = true, Sigma = sigma } : default;
    }

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => string.Create(CultureInfo.InvariantCulture, $"blur {draw.Sigma:0.00}");
}

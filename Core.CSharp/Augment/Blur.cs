using System.Globalization;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// Pillow's GaussianBlur(radius = sigma), which the reference code of SimCLR, MoCo, BYOL and DINO uses: three extended box blurs per axis
/// (Gwosdek et al. 2011), edge pixels repeated, rounded to bytes after every pass. The rounding is part of it: for a sigma below 0.5 it swallows
/// most of the blur (up to 3 of 255). Sigma is uniform in its range.
/// </summary>
/// <param name="MinSigma">Smallest standard deviation in pixels, above 0.</param>
/// <param name="MaxSigma">Largest.</param>
/// <param name="P">Probability.</param>
public sealed record Blur(double MinSigma, double MaxSigma, double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems()
    {
        if (!(MinSigma > 0 && MinSigma <= MaxSigma && MaxSigma <= Filter.MaxSigma))
        {
            yield return $"Blur: sigma range {MinSigma} to {MaxSigma} is not inside (0, {Filter.MaxSigma}] in rising order";
        }

        foreach (var problem in CheckProbability(nameof(Blur), P))
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

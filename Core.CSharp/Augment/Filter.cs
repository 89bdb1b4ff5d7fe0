namespace SslResearch.Core.Augment;

/// <summary>Symmetric filters by their half: weight 0 is the middle, weight j serves both neighbours at distance j.</summary>
internal static class Filter
{
    /// <summary>Most taps on one side.</summary>
    public const int MaxRadius = 32;

    /// <summary>Largest sigma whose box fits <see cref="MaxRadius"/>.</summary>
    public const double MaxSigma = 30;

    /// <summary>Box blurs that stand for one Gaussian, per axis.</summary>
    public const int BoxPasses = 3;

    /// <summary>
    /// The extended box whose <see cref="BoxPasses"/>-fold use has this standard deviation (Gwosdek et al. 2011, eqs. 7, 11, 14; Pillow's
    /// BoxBlur.c). Writes the half and returns its radius.
    /// </summary>
    public static int Box(float sigma, Span<float> half)
    {
        var variance = (double)sigma * sigma / BoxPasses;
        var inner = (int)Math.Floor((Math.Sqrt((12 * variance) + 1) - 1) / 2);
        var part = ((2 * inner) + 1) * ((inner * (inner + 1)) - (3 * variance)) / (6 * (variance - ((inner + 1) * (inner + 1))));
        var weight = 1 / ((2 * (inner + part)) + 1);
        half[..(inner + 1)].Fill((float)weight);
        half[inner + 1] = (float)((1 - (((2 * inner) + 1) * weight)) / 2);
        return inner + 1;
    }

    /// <summary>A Gaussian sampled at <paramref name="size"/> (odd) taps and scaled to sum 1. Writes the half and returns its radius.</summary>
    public static int Gaussian(int size, float sigma, Span<float> half)
    {
        var radius = size / 2;
        var total = 1.0;
        for (var j = 1; j <= radius; j++)
        {
            total += 2 * Math.Exp(-0.5 * j * j / ((double)sigma * sigma));
        }

        for (var j = 0; j <= radius; j++)
        {
            half[j] = (float)(Math.Exp(-0.5 * j * j / ((double)sigma * sigma)) / total);
        }

        return radius;
    }
}

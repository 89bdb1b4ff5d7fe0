namespace SslResearch.Core.Training;

/// <summary>The scalar rules that both executors of an update share.</summary>
internal static class LocalRates
{
    /// <summary>max / (norm + 1e-6), at most 1 (torch.nn.utils.clip_grad_norm_).</summary>
    public static double ClipScale(double norm, double largest) => Math.Min(1, largest / (norm + 1e-6));

    public static double Decay(OptimiserOptions options, FlatSegment segment) =>
        segment.IsNormOrBias && !options.DecayNormAndBias ? 0 : options.WeightDecay;

    public static bool Adapts(LarsOptions options, FlatSegment segment) => !segment.IsNormOrBias || options.AdaptNormAndBias;

    /// <summary>LARS: what (g + λw) is scaled by; from Σw², Σg² and Σgw of one segment, the gradient already clipped.</summary>
    public static double Lars(LarsOptions options, double decay, double rate, double weights, double gradients, double mixed)
    {
        var weight = Math.Sqrt(weights);
        var gradient = Math.Sqrt(options.NormOfDecayedGradient
            ? Math.Max(0, gradients + (2 * decay * mixed) + (decay * decay * weights))
            : gradients);
        if (weight == 0)
        {
            return 1;
        }

        if (gradient == 0)
        {
            // The reference leaves both decay and update out where there is no gradient; in the other form g + λw is 0 anyway.
            return 0;
        }

        var denominator = options.NormOfDecayedGradient ? gradient + options.Epsilon : gradient + (decay * weight) + options.Epsilon;
        var local = options.TrustCoefficient * weight / denominator;
        return options.ClipRate ? Math.Min(local / rate, 1) : local;
    }
}

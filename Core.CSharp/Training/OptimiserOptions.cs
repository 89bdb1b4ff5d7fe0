namespace SslResearch.Core.Training;

/// <summary>A description of an optimiser; the learning rate comes from <see cref="RateSchedule"/>.</summary>
/// <param name="WeightDecay">Coefficient λ.</param>
/// <param name="DecayNormAndBias">False leaves biases and normalisation parameters (at most one dimension) out of weight decay.</param>
public abstract record OptimiserOptions(double WeightDecay, bool DecayNormAndBias);

/// <summary>Stochastic gradient descent with momentum as PyTorch defines it: v ← μv + g + λw; w ← w − ηv.</summary>
public sealed record SgdOptions(double Momentum, bool Nesterov, double WeightDecay, bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

/// <summary>
/// Layer-wise adaptive rates (You, Gitman, Ginsburg 2017) around momentum SGD: (g + λw) is scaled by the local rate before it enters the momentum.
/// The local rate is trust·|w| / (|g| + λ|w| + ε); 1 where |w| is 0.
/// </summary>
/// <param name="TrustCoefficient">η of the paper: 0.001 there, 0.02 in CIFAR recipes.</param>
/// <param name="Epsilon">Added to the denominator.</param>
/// <param name="ClipRate">True: the LARC form, local rate min(local / η, 1).</param>
/// <param name="AdaptNormAndBias">False leaves biases and normalisation parameters at the plain rate.</param>
public sealed record LarsOptions(
    double Momentum,
    double TrustCoefficient,
    double Epsilon,
    bool ClipRate,
    bool AdaptNormAndBias,
    double WeightDecay,
    bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias)
{
    /// <summary>True: Nesterov momentum, as lightly offers it.</summary>
    public bool Nesterov { get; init; }

    /// <summary>True: the denominator is |g + λw| + ε, as in the code of Barlow Twins and VICReg (where ε is 0).</summary>
    public bool NormOfDecayedGradient { get; init; }
}

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter 2019); ε outside the root.</summary>
public sealed record AdamWOptions(double Beta1, double Beta2, double Epsilon, double WeightDecay, bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

/// <summary>Adam (Kingma and Ba 2015) with weight decay added to the gradient; ε outside the root.</summary>
public sealed record AdamOptions(double Beta1, double Beta2, double Epsilon, double WeightDecay, bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

namespace SslResearch.Core.Training;

/// <summary>A description of an optimiser; the learning rate comes from <see cref="RateSchedule"/>.</summary>
/// <param name="WeightDecay">Coefficient λ.</param>
/// <param name="DecayNormAndBias">False leaves biases and normalisation parameters (at most one dimension) out of weight decay.</param>
public abstract record OptimiserOptions(double WeightDecay, bool DecayNormAndBias);

/// <summary>Stochastic gradient descent with momentum as PyTorch defines it: v ← μv + g + λw; w ← w − ηv.</summary>
public sealed record SgdOptions(double Momentum, bool Nesterov, double WeightDecay, bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

/// <summary>Layer-wise adaptive rates (You, Gitman, Ginsburg 2017) around momentum SGD.</summary>
/// <param name="TrustCoefficient">η of the paper: 0.001 there, 0.02 in CIFAR recipes.</param>
/// <param name="Epsilon">Added to the denominator.</param>
/// <param name="ClipRate">True: the LARC form, local rate min(trust / η, 1).</param>
/// <param name="AdaptNormAndBias">False leaves biases and normalisation parameters at the plain rate.</param>
public sealed record LarsOptions(
    double Momentum,
    double TrustCoefficient,
    double Epsilon,
    bool ClipRate,
    bool AdaptNormAndBias,
    double WeightDecay,
    bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter 2019).</summary>
public sealed record AdamWOptions(double Beta1, double Beta2, double Epsilon, double WeightDecay, bool DecayNormAndBias)
    : OptimiserOptions(WeightDecay, DecayNormAndBias);

namespace SslResearch.Core.Methods;

/// <summary>What <see cref="Colorization"/> predicts.</summary>
public abstract record ColourObjective;

/// <summary>a* and b* themselves, as scale·tanh, by squared error.</summary>
/// <param name="Scale">Largest |a*|, |b*| that can be predicted; the unit of the loss.</param>
public sealed record RegressionObjective(double Scale) : ColourObjective;

/// <summary>Bins on the ab plane, by cross entropy with soft targets and weights for rare colours.</summary>
/// <param name="Step">Distance of the bins.</param>
/// <param name="Neighbours">Bins that a colour is encoded by.</param>
/// <param name="Sigma">Deviation of the encoding's Gaussian, in units of ab.</param>
/// <param name="UniformShare">λ of the weights, above 0; 1 weights all colours alike.</param>
public sealed record QuantisedObjective(int Step, int Neighbours, double Sigma, double UniformShare) : ColourObjective;

/// <summary>Choices of <see cref="Colorization"/>.</summary>
/// <param name="Decoder">Channels after each doubling of the feature map, on its way to the size of the chroma.</param>
/// <param name="Objective">What is predicted.</param>
/// <param name="Mean">Of the images' normalisation, one for each channel.</param>
/// <param name="Std">Likewise.</param>
public sealed record ColorizationOptions(IReadOnlyList<int> Decoder, ColourObjective Objective, IReadOnlyList<double> Mean, IReadOnlyList<double> Std);

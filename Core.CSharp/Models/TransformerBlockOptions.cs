namespace SslResearch.Core.Models;

/// <summary>Which <see cref="TransformerBlock"/>.</summary>
/// <param name="Width">Length of a token.</param>
/// <param name="Heads">Attention heads; they divide the width.</param>
/// <param name="MlpRatio">Width of the hidden layer over that of a token.</param>
/// <param name="QkvBias">Whether queries, keys and values have a bias.</param>
/// <param name="NormEpsilon">ε of the layer normalisations.</param>
/// <param name="LayerScale">Initial factor of each branch's channels, then learned (Touvron et al. 2021, CaiT); null for none.</param>
/// <param name="DropPath">Probability that an image leaves out a branch in training, at least 0 and below 1.</param>
/// <param name="Causal">Whether a token sees only itself and those before it.</param>
public sealed record TransformerBlockOptions(
    int Width,
    int Heads,
    double MlpRatio,
    bool QkvBias,
    double NormEpsilon,
    double? LayerScale,
    double DropPath,
    bool Causal);

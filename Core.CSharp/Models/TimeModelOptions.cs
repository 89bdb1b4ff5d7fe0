namespace SslResearch.Core.Models;

/// <summary>Which <see cref="TimeModel"/>.</summary>
public abstract record TimeModelOptions;

/// <summary>Layers of long short-term memory.</summary>
/// <param name="Width">Length of the state.</param>
/// <param name="Layers">At least 1.</param>
public sealed record LstmOptions(int Width, int Layers) : TimeModelOptions;

/// <summary>A transformer that sees no later step.</summary>
/// <param name="Width">Length of a token, divisible by 4.</param>
/// <param name="Depth">Blocks, at least 1.</param>
/// <param name="Heads">Attention heads; they divide the width.</param>
/// <param name="MlpRatio">Width of a block's hidden layer over that of a token.</param>
public sealed record CausalTransformerOptions(int Width, int Depth, int Heads, double MlpRatio) : TimeModelOptions;

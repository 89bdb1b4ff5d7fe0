namespace SslResearch.Core.Methods;

/// <summary>What a loss is worth when nothing was learned.</summary>
/// <param name="Chance">Value for embeddings that carry no information; null where the loss has none.</param>
/// <param name="Collapsed">Value when all embeddings are equal; null where the loss has none.</param>
public sealed record LossLevels(double? Chance, double? Collapsed);

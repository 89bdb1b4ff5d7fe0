using SslResearch.Core.Models;

namespace SslResearch.Core.Methods;

/// <summary>The head that guesses a target from a projection.</summary>
internal static class Predictors
{
    /// <summary>
    /// Linear, batch norm, ReLU, linear with bias. Its output is as long as its input, which is as long as the target: no other length can be asked for.
    /// </summary>
    /// <param name="length">Length of projections and targets.</param>
    /// <param name="width">Hidden width; null for no predictor.</param>
    /// <exception cref="ArgumentException">A width below 1.</exception>
    public static ProjectionHead? Create(int length, int? width) => width is { } hidden
        ? ProjectionHead.Create(length, new MlpProjection([hidden], length, HiddenBias: false, HiddenNorm: true, OutputBias: true, OutputNorm.None))
        : null;
}

namespace SslResearch.Core.Models;

/// <summary>Normalisation after the last layer of a projector.</summary>
public enum OutputNorm
{
    /// <summary>None.</summary>
    None,

    /// <summary>Batch normalisation with scale and shift.</summary>
    Affine,

    /// <summary>Batch normalisation without scale and shift.</summary>
    Plain,
}

/// <summary>What follows the encoder during training.</summary>
public abstract record ProjectionOptions;

/// <summary>Nothing: the loss sees h itself.</summary>
public sealed record NoProjection : ProjectionOptions;

/// <summary>One linear layer.</summary>
/// <param name="Outputs">Length of z.</param>
/// <param name="Bias">Whether it has a bias.</param>
public sealed record LinearProjection(int Outputs, bool Bias) : ProjectionOptions;

/// <summary>Linear layers with ReLU between them, optionally batch-normalised.</summary>
/// <param name="Hidden">Widths of the hidden layers.</param>
/// <param name="Outputs">Length of z.</param>
/// <param name="HiddenBias">Whether hidden layers have a bias; a normalisation after them makes it superfluous.</param>
/// <param name="HiddenNorm">Whether hidden layers are batch-normalised before their ReLU.</param>
/// <param name="OutputBias">Whether the last layer has a bias.</param>
/// <param name="OutputNorm">Normalisation of z.</param>
public sealed record MlpProjection(
    IReadOnlyList<int> Hidden,
    int Outputs,
    bool HiddenBias,
    bool HiddenNorm,
    bool OutputBias,
    OutputNorm OutputNorm)
    : ProjectionOptions;

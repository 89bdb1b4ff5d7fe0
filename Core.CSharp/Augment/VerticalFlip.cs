using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>Mirrors top and bottom.</summary>
/// <param name="P">Probability.</param>
public sealed record VerticalFlip(double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems() => CheckProbability(nameof(VerticalFlip), P);

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width) => new() { Applied = Happens(ref random, P) };

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => "vflip";
}

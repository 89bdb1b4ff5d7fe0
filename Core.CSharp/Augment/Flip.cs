using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>Mirrors left and right.</summary>
/// <param name="P">Probability.</param>
public sealed record Flip(double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems() => CheckProbability(nameof(Flip), P);

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width) => new() { Applied = Happens(ref random, P) };

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => "flip";
}

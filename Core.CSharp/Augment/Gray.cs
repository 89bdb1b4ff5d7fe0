using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>Replaces all three channels by 0.2989 R + 0.587 G + 0.114 B (torchvision's tensor weights). A one-channel image stays.</summary>
/// <param name="P">Probability.</param>
public sealed record Gray(double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems() => CheckProbability(nameof(Gray), P);

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width) => new() { Applied = Happens(ref random, P) };

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => "gray";
}

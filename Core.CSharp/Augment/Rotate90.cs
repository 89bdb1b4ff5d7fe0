using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>With probability P turns the square image by 90, 180 or 270 degrees counter-clockwise, each equally likely.</summary>
/// <param name="P">Probability of any turn.</param>
public sealed record Rotate90(double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems() => CheckProbability(nameof(Rotate90), P);

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width)
    {
        var applied = Happens(ref random, P);
        var turns = 1 + (int)random.NextBelow(3);
        return applied ? new OpDraw { Applied = true, Turns = turns } : default;
    }

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => $"turn {90 * draw.Turns}";
}

using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>Inverts values at or above the threshold.</summary>
/// <param name="Threshold">On the scale of 0 to 255.</param>
/// <param name="P">Probability.</param>
public sealed record Solarize(int Threshold, double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems()
    {
        if (Threshold is < 0 or > 256)
        {
            yield return $"Solarize: threshold {Threshold} is not in 0 to 256";
        }

        foreach (var problem in CheckProbability(nameof(Solarize), P))
        {
            yield return problem;
        }
    }

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width) => new() { Applied = Happens(ref random, P) };

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw) => "solarize";
}

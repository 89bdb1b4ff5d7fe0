using System.Globalization;
using System.Text;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// Brightness, contrast, saturation and hue, in random order (torchvision's ColorJitter under RandomApply). Factors are uniform in
/// [max(0, 1-s), 1+s], the turn of the hue in [-s, s]. A strength of 0 leaves its step out. A one-channel image has no saturation or hue.
/// </summary>
/// <param name="Brightness">Strength, 0 or more.</param>
/// <param name="Contrast">Strength, 0 or more.</param>
/// <param name="Saturation">Strength, 0 or more.</param>
/// <param name="Hue">Strength, 0 to 0.5.</param>
/// <param name="P">Probability of the whole.</param>
public sealed record Jitter(double Brightness, double Contrast, double Saturation, double Hue, double P) : ViewOp
{
    /// <inheritdoc/>
    public override IEnumerable<string> Problems()
    {
        foreach (var (name, value) in new[] { ("brightness", Brightness), ("contrast", Contrast), ("saturation", Saturation) })
        {
            if (!(value >= 0 && double.IsFinite(value)))
            {
                yield return $"Jitter: {name} {value} is not 0 or more";
            }
        }

        if (Hue is not (>= 0 and <= 0.5))
        {
            yield return $"Jitter: hue {Hue} is not in [0, 0.5]";
        }

        foreach (var problem in CheckProbability(nameof(Jitter), P))
        {
            yield return problem;
        }
    }

    /// <inheritdoc/>
    internal override OpDraw Draw(ref Philox random, int height, int width)
    {
        if (!Happens(ref random, P))
        {
            return default;
        }

        Span<int> order = stackalloc int[4];
        random.Permutation(order);
        return new OpDraw
        {
            Applied = true,
            Order = order[0] | (order[1] << 4) | (order[2] << 8) | (order[3] << 12),
            Brightness = Factor(ref random, Brightness),
            Contrast = Factor(ref random, Contrast),
            Saturation = Factor(ref random, Saturation),
            Hue = (float)random.NextDouble(-Hue, Hue),
        };
    }

    /// <inheritdoc/>
    internal override string Describe(in OpDraw draw)
    {
        var text = new StringBuilder("jitter");
        for (var i = 0; i < 4; i++)
        {
            var (used, letter, value) = draw.StepAt(i) switch
            {
                0 => (Brightness > 0, 'b', draw.Brightness),
                1 => (Contrast > 0, 'c', draw.Contrast),
                2 => (Saturation > 0, 's', draw.Saturation),
                _ => (Hue > 0, 'h', draw.Hue),
            };
            if (used)
            {
                text.Append(CultureInfo.InvariantCulture, $" {letter}{value:0.00}");
            }
        }

        return text.ToString();
    }

    private static float Factor(ref Philox random, double strength) => (float)random.NextDouble(Math.Max(0, 1 - strength), 1 + strength);
}

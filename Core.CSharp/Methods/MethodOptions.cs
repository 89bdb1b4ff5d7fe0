using SslResearch.Core.Models;

namespace SslResearch.Core.Methods;

/// <summary>Checks of options that several methods share; each throws an <see cref="ArgumentException"/> that names the option and its value.</summary>
internal static class MethodOptions
{
    public static void Positive(double value, string name)
    {
        if (!(value > 0) || !double.IsFinite(value))
        {
            throw new ArgumentException($"The {name} must be positive; received {value}.");
        }
    }

    public static void Fraction(double value, string name)
    {
        if (value is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"The {name} must be from 0 to 1; received {value}.");
        }
    }

    public static void AtLeastOne(int value, string name)
    {
        if (value < 1)
        {
            throw new ArgumentException($"The {name} must be at least 1; received {value}.");
        }
    }

    /// <summary>The head that maps z to a prediction of z; null for none.</summary>
    public static ProjectionHead? Predictor(int width, ProjectionOptions options)
    {
        var head = ProjectionHead.Create(width, options);
        if (head is not null && head.FeatureCount != width)
        {
            var received = head.FeatureCount;
            head.Dispose();
            throw new ArgumentException($"A predictor puts out vectors as long as those it takes in, {width}; received {received}.");
        }

        return head;
    }
}

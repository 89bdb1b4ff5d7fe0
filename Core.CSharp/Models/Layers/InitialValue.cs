using SslResearch.Core.Runtime;

namespace SslResearch.Core.Models.Layers;

/// <summary>The distribution that a parameter's initial values are drawn from.</summary>
public abstract record InitialValue
{
    /// <summary>Fills <paramref name="values"/> from the generator at one position.</summary>
    internal abstract void Fill(Span<float> values, ref Philox random);
}

/// <summary>Every element is <paramref name="Value"/>.</summary>
public sealed record ConstantValue(float Value) : InitialValue
{
    /// <inheritdoc/>
    internal override void Fill(Span<float> values, ref Philox random) => values.Fill(Value);
}

/// <summary>Uniform on [-<paramref name="Bound"/>, <paramref name="Bound"/>).</summary>
public sealed record UniformValue(double Bound) : InitialValue
{
    /// <inheritdoc/>
    internal override void Fill(Span<float> values, ref Philox random)
    {
        foreach (ref var value in values)
        {
            value = (float)(((2.0 * random.NextSingle()) - 1.0) * Bound);
        }
    }
}

/// <summary>Normal with mean 0 and this standard deviation (Box and Muller 1958, both values of a pair used).</summary>
public sealed record NormalValue(double Deviation) : InitialValue
{
    /// <inheritdoc/>
    internal override void Fill(Span<float> values, ref Philox random)
    {
        for (var i = 0; i < values.Length; i += 2)
        {
            var radius = Deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            var (sine, cosine) = Math.SinCos(2 * Math.PI * random.NextSingle());
            values[i] = (float)(radius * cosine);
            if (i + 1 < values.Length)
            {
                values[i + 1] = (float)(radius * sine);
            }
        }
    }
}

/// <summary>
/// Normal with mean 0 and this standard deviation, conditioned on [-2, 2] by drawing again what falls outside. The bounds are values, not
/// deviations, as in timm's and DINO's <c>trunc_normal_</c> (a = -2, b = 2): at the usual 0.02 they lie a hundred deviations away.
/// </summary>
public sealed record TruncatedNormalValue(double Deviation) : InitialValue
{
    private const double Bound = 2;

    /// <inheritdoc/>
    internal override void Fill(Span<float> values, ref Philox random)
    {
        var i = 0;
        while (i < values.Length)
        {
            var radius = Deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            var (sine, cosine) = Math.SinCos(2 * Math.PI * random.NextSingle());
            foreach (var value in (ReadOnlySpan<double>)[radius * cosine, radius * sine])
            {
                if (Math.Abs(value) <= Bound && i < values.Length)
                {
                    values[i++] = (float)value;
                }
            }
        }
    }
}

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

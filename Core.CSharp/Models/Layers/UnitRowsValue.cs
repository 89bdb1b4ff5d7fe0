using SslResearch.Core.Runtime;

namespace SslResearch.Core.Models.Layers;

/// <summary>Rows of this width, each uniform on the unit sphere.</summary>
public sealed record UnitRowsValue(int Width) : InitialValue
{
    /// <inheritdoc/>
    internal override void Fill(Span<float> values, ref Philox random)
    {
        new NormalValue(1).Fill(values, ref random);
        for (var start = 0; start < values.Length; start += Width)
        {
            var row = values.Slice(start, Width);
            var squares = 0.0;
            foreach (var value in row)
            {
                squares += (double)value * value;
            }

            var scale = 1 / Math.Sqrt(squares);
            foreach (ref var value in row)
            {
                value = (float)(value * scale);
            }
        }
    }
}

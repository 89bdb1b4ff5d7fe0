using System.Runtime.CompilerServices;

namespace SslResearch.Core.Augment;

/// <summary>
/// Resampling along one axis: result i is the sum over k of weight (k, i) × source at Start[i] + k. Antialiased as in Pillow and PyTorch:
/// the filter widens with the scale when the axis shrinks.
/// </summary>
internal unsafe struct AxisTable
{
    /// <summary>Results in one SIMD block.</summary>
    public const int Block = 16;

    /// <summary>Rows of the weights; unused ones are 0.</summary>
    public int Taps;

    /// <summary>Number of results.</summary>
    public int Length;

    /// <summary>Results rounded up to whole blocks: the row length of <see cref="Weights"/>.</summary>
    public int Stride;

    /// <summary>First source per result, such that all taps lie inside; positions beyond Length repeat the last.</summary>
    public int* Start;

    /// <summary>(Taps, Stride).</summary>
    public float* Weights;

    /// <summary>Most taps that a box of at most <paramref name="source"/> needs.</summary>
    public static int MostTaps(int source, int length, Interpolation mode) =>
        (2 * (int)Math.Ceiling(Support(mode) * Math.Max(1.0, (double)source / length))) + 1;

    public static int Padded(int length) => (length + Block - 1) & ~(Block - 1);

    /// <summary>Fills the table for a box of <paramref name="source"/> elements; <paramref name="reverse"/> mirrors the result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Build(int source, int length, Interpolation mode, bool reverse)
    {
        Length = length;
        Stride = Padded(length);
        Taps = 1;
        if (source == length)
        {
            for (var i = 0; i < Stride; i++)
            {
                var at = Math.Min(i, length - 1);
                Start[i] = reverse ? length - 1 - at : at;
                Weights[i] = 1;
            }

            return;
        }

        var scale = (double)source / length;
        var stretch = Math.Max(1, scale);
        var support = Support(mode) * stretch;
        for (var i = 0; i < length; i++)
        {
            var centre = scale * (i + 0.5);
            Taps = Math.Max(Taps, Math.Min((int)(centre + support + 0.5), source) - Math.Max((int)(centre - support + 0.5), 0));
        }

        for (var i = 0; i < Stride; i++)
        {
            var at = Math.Min(i, length - 1);
            var centre = scale * ((reverse ? length - 1 - at : at) + 0.5);
            var first = Math.Max((int)(centre - support + 0.5), 0);
            var count = Math.Min((int)(centre + support + 0.5), source) - first;

            // Near the end fewer taps are used: begin earlier, with weights 0, so that no tap lies beyond the source.
            Start[i] = Math.Min(first, source - Taps);
            var skipped = first - Start[i];
            var total = 0.0;
            for (var k = 0; k < Taps; k++)
            {
                var used = k >= skipped && k < skipped + count;
                var weight = used ? Value(mode, (k + Start[i] - centre + 0.5) / stretch) : 0;
                total += weight;
                Weights[(k * Stride) + i] = (float)weight;
            }

            var inverse = (float)(1 / total);
            for (var k = 0; k < Taps; k++)
            {
                Weights[(k * Stride) + i] *= inverse;
            }
        }
    }

    private static double Support(Interpolation mode) => mode == Interpolation.Bilinear ? 1 : 2;

    private static double Value(Interpolation mode, double x)
    {
        x = Math.Abs(x);
        if (mode == Interpolation.Bilinear)
        {
            return Math.Max(0, 1 - x);
        }

        // Keys' cubic with a = -0.5, as Pillow's BICUBIC and PyTorch's antialiased path (its plain path has -0.75).
        return x < 1 ? (((1.5 * x) - 2.5) * x * x) + 1
            : x < 2 ? (((((-0.5 * x) + 2.5) * x) - 4) * x) + 2
            : 0;
    }
}

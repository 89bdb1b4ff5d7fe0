using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// The loops of batch normalisation over rows of channels (channels-last memory: row = one position, C floats), with the following addition
/// and ReLU in the same pass. Rows are cut into a fixed number of blocks whose sums are added in order, so results do not depend on the
/// number of threads. Channels beyond the last full vector take a scalar path.
/// </summary>
internal static unsafe class NormKernels
{
    private const int Blocks = 32;

    // Rows whose sums stay in float before they are added up in double.
    private const int Run = 64;

    private static readonly int Lanes = Vector512<float>.Count;

    private interface ISwitch
    {
        static abstract bool On { get; }
    }

    /// <summary>Adds two sums over rows <c>from … to-1</c> to one float for each channel.</summary>
    private interface IColumnSums
    {
        void Add(int from, int to, float* first, float* second);
    }

    /// <summary>Mean and biased variance of each channel.</summary>
    public static void Statistics(float* x, int rows, int channels, double* mean, double* variance)
    {
        Sum(new Moments { X = x, Channels = channels }, rows, channels, mean, variance);
        for (var c = 0; c < channels; c++)
        {
            var shifted = mean[c] / rows;
            mean[c] = x[c] + shifted;
            variance[c] = Math.Max(0, (variance[c] / rows) - (shifted * shifted));
        }
    }

    /// <summary>y = scale·x + shift, plus the residual if there is one, then ReLU if asked for.</summary>
    public static void Apply(float* x, float* residual, float* y, int rows, int channels, float* scale, float* shift, bool relu)
    {
        if (residual != null)
        {
            if (relu)
            {
                Apply<On, On>(x, residual, y, rows, channels, scale, shift);
            }
            else
            {
                Apply<On, Off>(x, residual, y, rows, channels, scale, shift);
            }
        }
        else if (relu)
        {
            Apply<Off, On>(x, residual, y, rows, channels, scale, shift);
        }
        else
        {
            Apply<Off, Off>(x, residual, y, rows, channels, scale, shift);
        }
    }

    /// <summary>
    /// Per channel Σg and Σg·(x−mean). Where <paramref name="y"/> is given, g is first masked by y &gt; 0; where <paramref name="masked"/>
    /// is given too, the masked gradient is written there.
    /// </summary>
    public static void GradientSums(float* gradient, float* y, float* x, float* masked, int rows, int channels, float* mean, double* sums, double* products)
    {
        if (y == null)
        {
            Sum(new Gradients<Off, Off> { G = gradient, X = x, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
        else if (masked == null)
        {
            Sum(new Gradients<On, Off> { G = gradient, Y = y, X = x, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
        else
        {
            Sum(new Gradients<On, On> { G = gradient, Y = y, X = x, Masked = masked, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
    }

    /// <summary>dx = a·g + b·x + c per channel, g masked by y &gt; 0 where y is given.</summary>
    public static void GradientInput(float* gradient, float* y, float* x, float* dx, int rows, int channels, float* a, float* b, float* c)
    {
        if (y == null)
        {
            var kernel = new GradientInputKernel<Off> { G = gradient, X = x, Dx = dx, Rows = rows, Channels = channels, A = a, B = b, C = c };
            NativeParallel.For(ref kernel, Blocks);
        }
        else
        {
            var kernel = new GradientInputKernel<On> { G = gradient, Y = y, X = x, Dx = dx, Rows = rows, Channels = channels, A = a, B = b, C = c };
            NativeParallel.For(ref kernel, Blocks);
        }
    }

    private static void Apply<TResidual, TRelu>(float* x, float* residual, float* y, int rows, int channels, float* scale, float* shift)
        where TResidual : struct, ISwitch
        where TRelu : struct, ISwitch
    {
        var kernel = new ApplyKernel<TResidual, TRelu> { X = x, Residual = residual, Y = y, Rows = rows, Channels = channels, Scale = scale, Shift = shift };
        NativeParallel.For(ref kernel, Blocks);
    }

    private static void Sum<T>(T columns, int rows, int channels, double* first, double* second)
        where T : struct, IColumnSums
    {
        var partial = (double*)NativeMemory.AllocZeroed((nuint)(2 * Blocks * channels), sizeof(double));
        try
        {
            var kernel = new SumKernel<T> { Columns = columns, Rows = rows, Channels = channels, Partial = partial };
            NativeParallel.For(ref kernel, Blocks);
            for (var c = 0; c < channels; c++)
            {
                first[c] = second[c] = 0;
                for (var b = 0; b < Blocks; b++)
                {
                    first[c] += partial[(2 * b * channels) + c];
                    second[c] += partial[(((2 * b) + 1) * channels) + c];
                }
            }
        }
        finally
        {
            NativeMemory.Free(partial);
        }
    }

    private static int FirstRow(int rows, int block) => (int)((long)rows * block / Blocks);

    private static Vector512<float> Positive(Vector512<float> condition, Vector512<float> value) =>
        Vector512.ConditionalSelect(Vector512.GreaterThan(condition, Vector512<float>.Zero), value, Vector512<float>.Zero);

    private struct On : ISwitch
    {
        static bool ISwitch.On => true;
    }

    private struct Off : ISwitch
    {
        static bool ISwitch.On => false;
    }

    private struct SumKernel<T> : IRangeKernel
        where T : struct, IColumnSums
    {
        public T Columns;
        public int Rows;
        public int Channels;
        public double* Partial;

        public readonly void Run(int from, int to)
        {
            var sums = (float*)NativeMemory.AlignedAlloc((nuint)(2 * Channels * sizeof(float)), 64);
            for (var block = from; block < to; block++)
            {
                var partial = Partial + (2 * block * Channels);
                var last = FirstRow(Rows, block + 1);
                for (var start = FirstRow(Rows, block); start < last; start += NormKernels.Run)
                {
                    new Span<float>(sums, 2 * Channels).Clear();
                    Columns.Add(start, Math.Min(last, start + NormKernels.Run), sums, sums + Channels);
                    for (var c = 0; c < 2 * Channels; c++)
                    {
                        partial[c] += sums[c];
                    }
                }
            }

            NativeMemory.AlignedFree(sums);
        }
    }

    /// <summary>Σ(x−x₀) and Σ(x−x₀)², x₀ the first row: no cancellation where the mean is large against the deviation.</summary>
    private struct Moments : IColumnSums
    {
        public float* X;
        public int Channels;

        public readonly void Add(int from, int to, float* first, float* second)
        {
            for (var r = from; r < to; r++)
            {
                var row = X + ((long)r * Channels);
                var c = 0;
                for (; c <= Channels - Lanes; c += Lanes)
                {
                    var v = Vector512.Load(row + c) - Vector512.Load(X + c);
                    (Vector512.Load(first + c) + v).Store(first + c);
                    Vector512.FusedMultiplyAdd(v, v, Vector512.Load(second + c)).Store(second + c);
                }

                for (; c < Channels; c++)
                {
                    var v = row[c] - X[c];
                    first[c] += v;
                    second[c] = MathF.FusedMultiplyAdd(v, v, second[c]);
                }
            }
        }
    }

    private struct Gradients<TMask, TWrite> : IColumnSums
        where TMask : struct, ISwitch
        where TWrite : struct, ISwitch
    {
        public float* G;
        public float* Y;
        public float* X;
        public float* Masked;
        public float* Mean;
        public int Channels;

        public readonly void Add(int from, int to, float* first, float* second)
        {
            for (var r = from; r < to; r++)
            {
                var at = (long)r * Channels;
                var c = 0;
                for (; c <= Channels - Lanes; c += Lanes)
                {
                    var g = Vector512.Load(G + at + c);
                    if (TMask.On)
                    {
                        g = Positive(Vector512.Load(Y + at + c), g);
                    }

                    if (TWrite.On)
                    {
                        g.Store(Masked + at + c);
                    }

                    (Vector512.Load(first + c) + g).Store(first + c);
                    var centred = Vector512.Load(X + at + c) - Vector512.Load(Mean + c);
                    Vector512.FusedMultiplyAdd(g, centred, Vector512.Load(second + c)).Store(second + c);
                }

                for (; c < Channels; c++)
                {
                    var g = !TMask.On || Y[at + c] > 0 ? G[at + c] : 0f;
                    if (TWrite.On)
                    {
                        Masked[at + c] = g;
                    }

                    first[c] += g;
                    second[c] = MathF.FusedMultiplyAdd(g, X[at + c] - Mean[c], second[c]);
                }
            }
        }
    }

    private struct ApplyKernel<TResidual, TRelu> : IRangeKernel
        where TResidual : struct, ISwitch
        where TRelu : struct, ISwitch
    {
        public float* X;
        public float* Residual;
        public float* Y;
        public int Rows;
        public int Channels;
        public float* Scale;
        public float* Shift;

        public readonly void Run(int from, int to)
        {
            var last = FirstRow(Rows, to);
            for (var r = FirstRow(Rows, from); r < last; r++)
            {
                var at = (long)r * Channels;
                var c = 0;
                for (; c <= Channels - Lanes; c += Lanes)
                {
                    var v = Vector512.FusedMultiplyAdd(Vector512.Load(X + at + c), Vector512.Load(Scale + c), Vector512.Load(Shift + c));
                    if (TResidual.On)
                    {
                        v += Vector512.Load(Residual + at + c);
                    }

                    if (TRelu.On)
                    {
                        // Keeps NaN, as torch's relu does.
                        v = Vector512.ConditionalSelect(Vector512.LessThan(v, Vector512<float>.Zero), Vector512<float>.Zero, v);
                    }

                    v.Store(Y + at + c);
                }

                for (; c < Channels; c++)
                {
                    var v = MathF.FusedMultiplyAdd(X[at + c], Scale[c], Shift[c]) + (TResidual.On ? Residual[at + c] : 0f);
                    Y[at + c] = TRelu.On && v < 0 ? 0f : v;
                }
            }
        }
    }

    private struct GradientInputKernel<TMask> : IRangeKernel
        where TMask : struct, ISwitch
    {
        public float* G;
        public float* Y;
        public float* X;
        public float* Dx;
        public int Rows;
        public int Channels;
        public float* A;
        public float* B;
        public float* C;

        public readonly void Run(int from, int to)
        {
            var last = FirstRow(Rows, to);
            for (var r = FirstRow(Rows, from); r < last; r++)
            {
                var at = (long)r * Channels;
                var c = 0;
                for (; c <= Channels - Lanes; c += Lanes)
                {
                    var g = Vector512.Load(G + at + c);
                    if (TMask.On)
                    {
                        g = Positive(Vector512.Load(Y + at + c), g);
                    }

                    var rest = Vector512.FusedMultiplyAdd(Vector512.Load(X + at + c), Vector512.Load(B + c), Vector512.Load(C + c));
                    Vector512.FusedMultiplyAdd(g, Vector512.Load(A + c), rest).Store(Dx + at + c);
                }

                for (; c < Channels; c++)
                {
                    var g = !TMask.On || Y[at + c] > 0 ? G[at + c] : 0f;
                    Dx[at + c] = MathF.FusedMultiplyAdd(g, A[c], MathF.FusedMultiplyAdd(X[at + c], B[c], C[c]));
                }
            }
        }
    }
}

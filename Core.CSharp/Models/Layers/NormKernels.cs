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

    private enum Mask
    {
        Nothing,
        Output,
        Input,
    }

    private interface IMask
    {
        static abstract Mask By { get; }
    }

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
    /// Per channel Σg and Σg·(x−mean), g masked first where ReLU followed: by y &gt; 0, the masked gradient being written; or, where there was no
    /// residual, by what y was made of.
    /// </summary>
    /// <param name="gradient">g.</param>
    /// <param name="relu">How it is masked.</param>
    /// <param name="x">The input.</param>
    /// <param name="rows">Positions.</param>
    /// <param name="channels">Of each.</param>
    /// <param name="mean">Per channel.</param>
    /// <param name="sums">Receives Σg.</param>
    /// <param name="products">Receives Σg·(x−mean).</param>
    public static void GradientSums(float* gradient, in ReluMask relu, float* x, int rows, int channels, float* mean, double* sums, double* products)
    {
        if (relu.Y != null)
        {
            Sum(new Gradients<ByOutput> { G = gradient, Relu = relu, X = x, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
        else if (relu.Scale != null)
        {
            Sum(new Gradients<ByInput> { G = gradient, Relu = relu, X = x, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
        else
        {
            Sum(new Gradients<Unmasked> { G = gradient, Relu = relu, X = x, Mean = mean, Channels = channels }, rows, channels, sums, products);
        }
    }

    /// <summary>dx = a·g + b·x + c per channel; g is masked as before, or was written masked.</summary>
    public static void GradientInput(float* gradient, in ReluMask relu, float* x, float* dx, int rows, int channels, float* a, float* b, float* c)
    {
        if (relu.Y == null && relu.Scale != null)
        {
            var kernel = new GradientInputKernel<ByInput> { G = gradient, Relu = relu, X = x, Dx = dx, Rows = rows, Channels = channels, A = a, B = b, C = c };
            NativeParallel.For(ref kernel, Blocks);
        }
        else
        {
            var kernel = new GradientInputKernel<Unmasked> { G = relu.Y == null ? gradient : relu.Masked, X = x, Dx = dx, Rows = rows, Channels = channels, A = a, B = b, C = c };
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

    /// <summary>What tells where a ReLU let the gradient pass; nothing set: everywhere.</summary>
    public struct ReluMask
    {
        /// <summary>The output; with it, <see cref="Masked"/>.</summary>
        public float* Y;

        /// <summary>Receives the masked gradient.</summary>
        public float* Masked;

        /// <summary>Without a residual: y was scale·x + shift.</summary>
        public float* Scale;

        /// <summary>See <see cref="Scale"/>.</summary>
        public float* Shift;
    }

    private struct Unmasked : IMask
    {
        static Mask IMask.By => Mask.Nothing;
    }

    private struct ByOutput : IMask
    {
        static Mask IMask.By => Mask.Output;
    }

    private struct ByInput : IMask
    {
        static Mask IMask.By => Mask.Input;
    }

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

    private struct Gradients<TMask> : IColumnSums
        where TMask : struct, IMask
    {
        public float* G;
        public ReluMask Relu;
        public float* X;
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
                    var x = Vector512.Load(X + at + c);
                    if (TMask.By == Mask.Output)
                    {
                        g = Positive(Vector512.Load(Relu.Y + at + c), g);
                        g.Store(Relu.Masked + at + c);
                    }
                    else if (TMask.By == Mask.Input)
                    {
                        g = Positive(Vector512.FusedMultiplyAdd(x, Vector512.Load(Relu.Scale + c), Vector512.Load(Relu.Shift + c)), g);
                    }

                    (Vector512.Load(first + c) + g).Store(first + c);
                    Vector512.FusedMultiplyAdd(g, x - Vector512.Load(Mean + c), Vector512.Load(second + c)).Store(second + c);
                }

                for (; c < Channels; c++)
                {
                    var g = G[at + c];
                    if (TMask.By == Mask.Output)
                    {
                        g = Relu.Masked[at + c] = Relu.Y[at + c] > 0 ? g : 0f;
                    }
                    else if (TMask.By == Mask.Input)
                    {
                        g = MathF.FusedMultiplyAdd(X[at + c], Relu.Scale[c], Relu.Shift[c]) > 0 ? g : 0f;
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
        where TMask : struct, IMask
    {
        public float* G;
        public ReluMask Relu;
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
                    var x = Vector512.Load(X + at + c);
                    if (TMask.By == Mask.Input)
                    {
                        g = Positive(Vector512.FusedMultiplyAdd(x, Vector512.Load(Relu.Scale + c), Vector512.Load(Relu.Shift + c)), g);
                    }

                    var rest = Vector512.FusedMultiplyAdd(x, Vector512.Load(B + c), Vector512.Load(C + c));
                    Vector512.FusedMultiplyAdd(g, Vector512.Load(A + c), rest).Store(Dx + at + c);
                }

                for (; c < Channels; c++)
                {
                    var g = TMask.By != Mask.Input || MathF.FusedMultiplyAdd(X[at + c], Relu.Scale[c], Relu.Shift[c]) > 0 ? G[at + c] : 0f;
                    Dx[at + c] = MathF.FusedMultiplyAdd(g, A[c], MathF.FusedMultiplyAdd(X[at + c], B[c], C[c]));
                }
            }
        }
    }
}

using System.Numerics;
using System.Runtime.CompilerServices;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// SIGReg's statistic and derivative of float32 projections on the CPU, both from one reading of cos θ and sin θ a pass: multiples of θ follow
/// by rotation, in registers. Each direction's sums run over the images in order, so results do not depend on the number of threads.
/// </summary>
internal static unsafe class SigRegKernel
{
    // The sums lie on the stack.
    private const int MostKnots = 1024;

    /// <summary>True if <see cref="Apply"/> serves these projections.</summary>
    /// <param name="x">(…, N, S).</param>
    /// <param name="knots">Points of the integral.</param>
    public static bool Serves(Tensor x, int knots) =>
        knots <= MostKnots && CpuFloats.Holds(x);

    /// <summary>Statistic (…, S) and derivative (…, N, S).</summary>
    /// <param name="x">(…, N, S) float32 on the CPU, no gradient.</param>
    /// <param name="points">Knots at multiples of the second one.</param>
    /// <param name="normal">exp(−t²/2) at the knots.</param>
    /// <param name="weights">Weights of the integral.</param>
    public static (Tensor Value, Tensor Slope) Apply(Tensor x, double[] points, double[] normal, double[] weights)
    {
        using var scope = NewDisposeScope();
        var angle = x.mul(Scalars.Of(points[1])).contiguous();
        var (cosine, sine) = (angle.cos(), angle.sin());
        var slope = empty_like(angle);
        var shape = x.shape;
        var value = empty([.. shape[..^2], shape[^1]], ScalarType.Float32);
        var slices = (int)shape[^1];
        var blocks = (slices + Vector<float>.Count - 1) / Vector<float>.Count;
        var views = (int)(x.numel() / (shape[^2] * slices));
        fixed (double* t = points, phi = normal, w = weights)
        {
            var kernel = new Kernel
            {
                Cosine = CpuFloats.Pointer(cosine),
                Sine = CpuFloats.Pointer(sine),
                Slope = CpuFloats.Pointer(slope),
                Value = CpuFloats.Pointer(value),
                Images = (int)shape[^2],
                Slices = slices,
                Blocks = blocks,
                Knots = points.Length,
                Points = t,
                Normal = phi,
                Weights = w,
            };
            NativeParallel.For(ref kernel, views * blocks);
        }

        return (value.MoveToOuterDisposeScope(), slope.MoveToOuterDisposeScope());
    }

    private struct Kernel : IRangeKernel
    {
        public float* Cosine;
        public float* Sine;
        public float* Slope;
        public float* Value;
        public int Images;
        public int Slices;
        public int Blocks;
        public int Knots;
        public double* Points;
        public double* Normal;
        public double* Weights;

        [SkipLocalsInit]
        public readonly void Run(int from, int to)
        {
            var real = stackalloc Vector<float>[Knots];
            var imaginary = stackalloc Vector<float>[Knots];
            for (var item = from; item < to; item++)
            {
                var view = item / Blocks;
                var first = item % Blocks * Vector<float>.Count;
                var at = ((long)view * Images * Slices) + first;
                var lanes = Math.Min(Vector<float>.Count, Slices - first);
                Sum(at, lanes, real, imaginary);
                Finish(((long)view * Slices) + first, lanes, real, imaginary);
                Differentiate(at, lanes, real, imaginary);
            }
        }

        private static Vector<float> Load(float* at, int lanes)
        {
            if (lanes == Vector<float>.Count)
            {
                return *(Vector<float>*)at;
            }

            var padded = Vector<float>.Zero;
            Unsafe.CopyBlockUnaligned(&padded, at, (uint)(lanes * sizeof(float)));
            return padded;
        }

        private static void Store(float* at, Vector<float> values, int lanes) =>
            Unsafe.CopyBlockUnaligned(at, &values, (uint)(lanes * sizeof(float)));

        /// <summary>Sums of cos kθ and sin kθ over the images.</summary>
        private readonly void Sum(long at, int lanes, Vector<float>* real, Vector<float>* imaginary)
        {
            for (var k = 0; k < Knots; k++)
            {
                real[k] = imaginary[k] = Vector<float>.Zero;
            }

            for (var n = 0; n < Images; n++)
            {
                var c = Load(Cosine + at + ((long)n * Slices), lanes);
                var s = Load(Sine + at + ((long)n * Slices), lanes);
                var (ck, sk) = (c, s);
                for (var k = 1; k < Knots; k++)
                {
                    real[k] += ck;
                    imaginary[k] += sk;
                    (ck, sk) = ((ck * c) - (sk * s), (sk * c) + (ck * s));
                }
            }
        }

        /// <summary>The statistic; leaves in the sums the factors that the derivative takes of cos kθ and sin kθ.</summary>
        private readonly void Finish(long at, int lanes, Vector<float>* real, Vector<float>* imaginary)
        {
            var value = Vector<float>.Zero;
            var part = new Vector<float>(1f / Images);
            for (var k = 1; k < Knots; k++)
            {
                var difference = (real[k] * part) - new Vector<float>((float)Normal[k]);
                var odd = imaginary[k] * part;
                value += new Vector<float>((float)(Weights[k] * Images)) * ((difference * difference) + (odd * odd));
                var factor = new Vector<float>((float)(2 * Weights[k] * Points[k]));
                real[k] = factor * odd;
                imaginary[k] = -factor * difference;
            }

            Store(Value + at, value, lanes);
        }

        private readonly void Differentiate(long at, int lanes, Vector<float>* real, Vector<float>* imaginary)
        {
            for (var n = 0; n < Images; n++)
            {
                var offset = at + ((long)n * Slices);
                var c = Load(Cosine + offset, lanes);
                var s = Load(Sine + offset, lanes);
                var (ck, sk) = (c, s);
                var slope = Vector<float>.Zero;
                for (var k = 1; k < Knots; k++)
                {
                    slope += (real[k] * ck) + (imaginary[k] * sk);
                    (ck, sk) = ((ck * c) - (sk * s), (sk * c) + (ck * s));
                }

                Store(Slope + offset, slope, lanes);
            }
        }
    }
}

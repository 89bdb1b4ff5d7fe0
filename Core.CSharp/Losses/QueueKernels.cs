using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using TorchSharp;
using static SslResearch.Core.Runtime.CpuFloats;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// What is asked of the similarities between a batch and a long queue, block by block, so that they never leave a core's cache. Rows of the batch
/// lie side by side in vectors; each row is worked on by one thread alone, so results do not depend on the number of threads.
/// </summary>
internal static unsafe class QueueKernels
{
    // Vectors of the queue at a time: their similarities with 128 rows take 48 KiB.
    private const int Block = 96;

    // Rows that one item works on.
    private const int RowsAtOnce = 4 * VectorMath.Lanes;

    /// <summary>True for matrices of one width, dense float32 on a CPU with 512-bit vectors, whose width is a whole number of them.</summary>
    public static bool Serves(Tensor rows, Tensor queue) =>
        Vector512.IsHardwareAccelerated && rows.dim() == 2 && queue.dim() == 2 && rows.size(1) == queue.size(1) && Holds(rows) && Holds(queue) && rows.is_contiguous() && queue.is_contiguous() && rows.size(1) % VectorMath.Lanes == 0;

    /// <summary>
    /// <see cref="InfoNce.Queue"/>'s loss of each query and its gradient. Exponentials are taken as they are: for temperatures that allow it.
    /// </summary>
    /// <param name="queries">(N, d), any length.</param>
    /// <param name="keys">(N, d), any length, as dense as the queries.</param>
    /// <param name="queue">(K, d), of unit length.</param>
    /// <param name="temperature">τ.</param>
    /// <param name="floor">Shorter vectors are divided by it instead of their length.</param>
    /// <returns>The mean over the rows, and its gradient by the queries, (N, d).</returns>
    public static (double Mean, Tensor Gradient) Contrast(Tensor queries, Tensor keys, Tensor queue, double temperature, double floor)
    {
        using var unit = empty(queries.size(0), queries.size(1));
        using var values = empty(queries.size(0));
        var gradient = empty(queries.size(0), queries.size(1));
        var kernel = new ContrastKernel
        {
            Sum = new SumKernel { Batch = Of(unit, queue), Value = Pointer(values), Slope = Pointer(gradient) },
            Queries = Pointer(queries),
            Keys = Pointer(keys),
            Temperature = (float)temperature,
            Floor = (float)floor,
        };
        NativeParallel.For(ref kernel, kernel.Sum.Batch.Items);
        var sum = 0.0;
        foreach (var loss in Aten.Floats(values))
        {
            sum += loss;
        }

        return (sum / queries.size(0), gradient);
    }

    /// <summary>Which vector of the queue has the greatest inner product, the first of equals; 0 for a row that holds NaN.</summary>
    /// <param name="rows">(N, d).</param>
    /// <param name="queue">(K, d).</param>
    /// <returns>(N) int64.</returns>
    public static Tensor Nearest(Tensor rows, Tensor queue)
    {
        var found = empty([rows.size(0)], ScalarType.Int64);
        var kernel = new NearestKernel { Batch = Of(rows, queue), Found = (long*)Aten.DataPointer(found) };
        NativeParallel.For(ref kernel, kernel.Batch.Items);
        return found;
    }

    private static Batch Of(Tensor rows, Tensor queue) => new()
    {
        Rows = Pointer(rows),
        Queue = Pointer(queue),
        Count = checked((int)rows.size(0)),
        Length = checked((int)queue.size(0)),
        Width = checked((int)rows.size(1)),
    };

    private struct Batch
    {
        public float* Rows;
        public float* Queue;
        public int Count;
        public int Length;
        public int Width;

        public readonly int Items => (Count + RowsAtOnce - 1) / RowsAtOnce;

        /// <summary>Rows of items <paramref name="from"/> … <paramref name="to"/>-1.</summary>
        public readonly (int First, int Count) Range(int from, int to) => (from * RowsAtOnce, Math.Min(to * RowsAtOnce, Count) - (from * RowsAtOnce));

        /// <summary>The rows as columns.</summary>
        public readonly float* Turned(int first, int count, int padded)
        {
            var turned = VectorMath.Allocate(Width * padded);
            VectorMath.Transpose(Rows + ((long)first * Width), Width, count, Width, turned, padded);
            return turned;
        }

        /// <summary>Similarities of a block of the queue with all turned rows: (size, padded).</summary>
        public readonly void Compare(int at, int size, float* turned, int padded, float* similarities) =>
            VectorMath.Multiply(Queue + ((long)at * Width), Width, 1, turned, padded, similarities, padded, size, padded, Width);
    }

    /// <summary>log Σⱼ exp(x·nⱼ) of each row x, and Σⱼ softmaxⱼ·nⱼ.</summary>
    private struct SumKernel : IRangeKernel
    {
        public Batch Batch;
        public float* Value;
        public float* Slope;

        public readonly void Run(int from, int to)
        {
            var (first, count) = Batch.Range(from, to);
            var (width, padded) = (Batch.Width, VectorMath.Padded(count));
            var turned = Batch.Turned(first, count, padded);
            var weights = VectorMath.Allocate(Block * padded);
            var sums = VectorMath.Allocate(padded);
            new Span<float>(sums, padded).Clear();
            var slope = Slope + ((long)first * width);
            for (var at = 0; at < Batch.Length; at += Block)
            {
                var size = Math.Min(Block, Batch.Length - at);
                Batch.Compare(at, size, turned, padded, weights);
                Exponentials(weights, size, padded, sums);
                VectorMath.Multiply(weights, 1, padded, Batch.Queue + ((long)at * width), width, slope, width, count, width, size, at > 0);
            }

            for (var i = 0; i < count; i++)
            {
                Value[first + i] = MathF.Log(sums[i]);
                var part = Vector512.Create(1 / sums[i]);
                for (var c = 0; c < width; c += VectorMath.Lanes)
                {
                    var place = slope + ((long)i * width) + c;
                    (Vector512.Load(place) * part).Store(place);
                }
            }

            NativeMemory.AlignedFree(turned);
            NativeMemory.AlignedFree(weights);
            NativeMemory.AlignedFree(sums);
        }

        /// <summary>Similarities to their exponentials; adds them up for each row of the batch.</summary>
        private static void Exponentials(float* similarities, int size, int padded, float* sums)
        {
            for (var i = 0; i < padded; i += VectorMath.Lanes)
            {
                var sum = Vector512<float>.Zero;
                for (var j = 0; j < size; j++)
                {
                    var place = similarities + (j * padded) + i;
                    var e = VectorMath.Exponential(Vector512.Load(place));
                    e.Store(place);
                    sum += e;
                }

                (Vector512.Load(sums + i) + sum).Store(sums + i);
            }
        }
    }

    private struct ContrastKernel : IRangeKernel
    {
        public SumKernel Sum; // of û/τ, which is written here
        public float* Queries;
        public float* Keys;
        public float Temperature;
        public float Floor;

        public readonly void Run(int from, int to)
        {
            var (first, count) = Sum.Batch.Range(from, to);
            var width = Sum.Batch.Width;
            for (var i = first; i < first + count; i++)
            {
                var query = Queries + ((long)i * width);
                Scale(query, 1 / (Length(query, width) * Temperature), Sum.Batch.Rows + ((long)i * width), width);
            }

            Sum.Run(from, to);
            for (var i = first; i < first + count; i++)
            {
                Finish(i, width);
            }
        }

        /// <summary>From the row's sum to its loss, −log σ(x·k − sum), and from the sum's slope to the gradient by the query.</summary>
        private readonly void Finish(int row, int width)
        {
            var start = (long)row * width;
            var query = Queries + start;
            var key = Keys + start;
            var scaled = Sum.Batch.Rows + start;
            var slope = Sum.Slope + start;
            var (length, perKey) = (Length(query, width), 1 / Length(key, width));
            var margin = Sum.Value[row] - (Dot(scaled, key, width) * perKey);
            Sum.Value[row] = MathF.Max(margin, 0) + float.LogP1(MathF.Exp(-MathF.Abs(margin)));
            var share = 1 / ((1 + MathF.Exp(-margin)) * Sum.Batch.Count);
            for (var c = 0; c < width; c += VectorMath.Lanes)
            {
                ((Vector512.Load(slope + c) - (Vector512.Load(key + c) * perKey)) * share).Store(slope + c);
            }

            // The part along the query does nothing: its length is divided out, unless it is so small that the floor stands for it.
            var along = length > Floor ? Dot(slope, scaled, width) * Temperature * Temperature : 0;
            var factor = 1 / (length * Temperature);
            for (var c = 0; c < width; c += VectorMath.Lanes)
            {
                ((Vector512.Load(slope + c) - (Vector512.Load(scaled + c) * along)) * factor).Store(slope + c);
            }
        }

        private readonly float Length(float* x, int width) => MathF.Max(MathF.Sqrt(Dot(x, x, width)), Floor);

        private static float Dot(float* x, float* y, int width)
        {
            var sum = Vector512<float>.Zero;
            for (var c = 0; c < width; c += VectorMath.Lanes)
            {
                sum = Vector512.FusedMultiplyAdd(Vector512.Load(x + c), Vector512.Load(y + c), sum);
            }

            return Vector512.Sum(sum);
        }

        private static void Scale(float* x, float factor, float* to, int width)
        {
            for (var c = 0; c < width; c += VectorMath.Lanes)
            {
                (Vector512.Load(x + c) * factor).Store(to + c);
            }
        }
    }

    private struct NearestKernel : IRangeKernel
    {
        public Batch Batch;
        public long* Found;

        public readonly void Run(int from, int to)
        {
            var (first, count) = Batch.Range(from, to);
            var padded = VectorMath.Padded(count);
            var turned = Batch.Turned(first, count, padded);
            var similarities = VectorMath.Allocate(Block * padded);
            var best = VectorMath.Allocate(padded);
            var places = (int*)VectorMath.Allocate(padded);
            new Span<float>(best, padded).Fill(float.NegativeInfinity);
            new Span<int>(places, padded).Clear();
            for (var at = 0; at < Batch.Length; at += Block)
            {
                var size = Math.Min(Block, Batch.Length - at);
                Batch.Compare(at, size, turned, padded, similarities);
                for (var i = 0; i < padded; i += VectorMath.Lanes)
                {
                    Look(similarities + i, size, padded, at, best + i, places + i);
                }
            }

            for (var i = 0; i < count; i++)
            {
                Found[first + i] = places[i];
            }

            NativeMemory.AlignedFree(turned);
            NativeMemory.AlignedFree(similarities);
            NativeMemory.AlignedFree(best);
            NativeMemory.AlignedFree(places);
        }

        private static void Look(float* similarities, int size, int padded, int at, float* best, int* places)
        {
            var (largest, place) = (Vector512.Load(best), Vector512.Load(places));
            for (var j = 0; j < size; j++)
            {
                var x = Vector512.Load(similarities + (j * padded));
                var better = Vector512.GreaterThan(x, largest);
                largest = Vector512.ConditionalSelect(better, x, largest);
                place = Vector512.ConditionalSelect(better.AsInt32(), Vector512.Create(at + j), place);
            }

            largest.Store(best);
            place.Store(places);
        }
    }
}

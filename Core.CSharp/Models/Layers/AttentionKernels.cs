using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using static SslResearch.Core.Runtime.VectorMath;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Attention of one head over one short sequence, from the product that holds queries, keys and values of all heads side by side:
/// row = token, (3, heads, d) floats. Each head of each sequence is worked on by one thread alone, in memory that stays in its cache,
/// so results do not depend on the number of threads.
/// </summary>
internal static unsafe class AttentionKernels
{
    /// <summary>Where everything is.</summary>
    public struct Layout
    {
        public float* Qkv;
        public int Tokens;
        public int Heads;
        public int Depth;
        public bool Causal;

        public readonly int Width => Heads * Depth;

        /// <summary>Tokens, filled up to whole vectors.</summary>
        public readonly int Padded => VectorMath.Padded(Tokens);

        public readonly float Scale => 1 / MathF.Sqrt(Depth);

        /// <summary>First query of a head of a sequence; its key and its value follow after one and two widths.</summary>
        public readonly long Start(int item) => ((long)(item / Heads) * Tokens * 3 * Width) + ((item % Heads) * Depth);

        /// <summary>Where the head's output begins.</summary>
        public readonly long OutputStart(int item) => ((long)(item / Heads) * Tokens * Width) + ((item % Heads) * Depth);
    }

    /// <summary>Items are heads of sequences.</summary>
    public struct Forward : IRangeKernel
    {
        public Layout Layout;
        public float* Output;
        public float* LogSums;

        public readonly void Run(int from, int to)
        {
            var (tokens, padded, depth, width) = (Layout.Tokens, Layout.Padded, Layout.Depth, Layout.Width);
            var row = 3 * width;
            var keys = Allocate(depth * padded);
            var scores = Allocate(tokens * padded);
            for (var item = from; item < to; item++)
            {
                var query = Layout.Qkv + Layout.Start(item);
                Transpose(query + width, row, tokens, depth, keys, padded);
                Multiply(query, row, 1, keys, padded, scores, padded, tokens, padded, depth);
                for (var i = 0; i < tokens; i++)
                {
                    LogSums[((long)item * tokens) + i] = Softmax(scores + (i * padded), Layout.Causal ? i + 1 : tokens, padded, Layout.Scale);
                }

                Multiply(scores, padded, 1, query + (2 * width), row, Output + Layout.OutputStart(item), width, tokens, depth, tokens);
            }

            NativeMemory.AlignedFree(keys);
            NativeMemory.AlignedFree(scores);
        }

        /// <summary>Scores to weights that sum to 1, in place; what is not allowed gets 0. Returns the logarithm of the sum of exponentials.</summary>
        private static float Softmax(float* scores, int allowed, int padded, float scale)
        {
            var largest = Largest(scores, allowed) * scale;
            var sum = Exponentials(scores, allowed, padded, scale, largest);
            var part = Vector512.Create(1 / sum);
            for (var j = 0; j < padded; j += Lanes)
            {
                (Vector512.Load(scores + j) * part).Store(scores + j);
            }

            return largest + MathF.Log(sum);
        }
    }

    /// <summary>The gradient of the product from that of the output; items as forward.</summary>
    public struct Backward : IRangeKernel
    {
        public Layout Layout;
        public float* LogSums;
        public float* Gradient;
        public float* QkvGradient;

        public readonly void Run(int from, int to)
        {
            var (tokens, padded, depth, width) = (Layout.Tokens, Layout.Padded, Layout.Depth, Layout.Width);
            var row = 3 * width;
            var turned = Allocate(depth * padded);
            var weights = Allocate(tokens * padded);
            var slopes = Allocate(tokens * padded);
            for (var item = from; item < to; item++)
            {
                var query = Layout.Qkv + Layout.Start(item);
                var key = query + width;
                var value = key + width;
                var gradient = Gradient + Layout.OutputStart(item);
                var toQuery = QkvGradient + Layout.Start(item);
                Transpose(key, row, tokens, depth, turned, padded);
                Multiply(query, row, 1, turned, padded, weights, padded, tokens, padded, depth);
                Transpose(value, row, tokens, depth, turned, padded);
                Multiply(gradient, width, 1, turned, padded, slopes, padded, tokens, padded, depth);
                for (var i = 0; i < tokens; i++)
                {
                    var weight = weights + (i * padded);
                    Exponentials(weight, Layout.Causal ? i + 1 : tokens, padded, Layout.Scale, LogSums[((long)item * tokens) + i]);
                    Slope(weight, slopes + (i * padded), padded, Layout.Scale);
                }

                Multiply(slopes, padded, 1, key, row, toQuery, row, tokens, depth, tokens);
                Multiply(slopes, 1, padded, query, row, toQuery + width, row, tokens, depth, tokens);
                Multiply(weights, 1, padded, gradient, width, toQuery + (2 * width), row, tokens, depth, tokens);
            }

            NativeMemory.AlignedFree(turned);
            NativeMemory.AlignedFree(weights);
            NativeMemory.AlignedFree(slopes);
        }

        /// <summary>The softmax's derivative: p·(g − Σp·g), times the scale of its scores, in place of g.</summary>
        private static void Slope(float* weights, float* gradient, int padded, float scale)
        {
            var sums = Vector512<float>.Zero;
            for (var j = 0; j < padded; j += Lanes)
            {
                sums += Vector512.Load(weights + j) * Vector512.Load(gradient + j);
            }

            var mean = Vector512.Create(Vector512.Sum(sums));
            for (var j = 0; j < padded; j += Lanes)
            {
                ((Vector512.Load(gradient + j) - mean) * Vector512.Load(weights + j) * scale).Store(gradient + j);
            }
        }
    }
}

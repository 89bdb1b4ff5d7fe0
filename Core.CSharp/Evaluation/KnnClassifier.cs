using System.Numerics;
using System.Runtime.InteropServices;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>
/// Nearest neighbours by cosine similarity: weighted by exp(similarity / T) (Wu et al. 2018, the form of DINO, solo-learn and lightly)
/// or by plain majority. Exact, deterministic, in bounded memory: similarities are computed in tiles.
/// </summary>
public static class KnnClassifier
{
    private const int TrainTile = 16384;
    private const int TestTile = 512; // 512 × 16384 × 4 bytes = 32 MB of similarities

    /// <summary>Class of each test image; between equal scores the smallest label wins, as in scikit-learn and torch's argmax.</summary>
    /// <param name="train">Labelled features; rows are l2-normalised here.</param>
    /// <param name="test">Features of the same width; its labels are not looked at.</param>
    /// <param name="k">Neighbours, 1 to the number of training images; between equal similarities the first image is the nearer.</param>
    /// <param name="temperature">T; null for majority vote.</param>
    /// <exception cref="ArgumentException">k out of range, T not positive, other widths, or training images without labels.</exception>
    public static long[] Predict(FeatureBank train, FeatureBank test, int k, double? temperature)
    {
        if (k < 1 || k > train.Count)
        {
            throw new ArgumentException($"k-NN with k = {k} needs at least one and at most as many neighbours as the bank has images ({train.Count}).", nameof(k));
        }

        if (temperature is { } t && !(t > 0))
        {
            throw new ArgumentException($"The temperature of k-NN must be positive; received {t}.", nameof(temperature));
        }

        if (train.Width != test.Width)
        {
            throw new ArgumentException($"Training features have width {train.Width}, test features {test.Width}.", nameof(test));
        }

        var labels = train.Classes(nameof(train));
        var classes = (int)labels.Max() + 1;
        var predicted = new long[test.Count];
        var similarities = new float[TestTile * k];
        var neighbours = new int[TestTile * k];

        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var bank = UnitRows.Of(train.Features); // (M, d)
        var queries = UnitRows.Of(test.Features); // (N, d)
        for (long first = 0; first < test.Count; first += TestTile)
        {
            var rows = (int)Math.Min(TestTile, test.Count - first);
            similarities.AsSpan().Fill(float.NegativeInfinity);
            for (long start = 0; start < train.Count; start += TrainTile)
            {
                using var tile = NewDisposeScope();
                var columns = (int)Math.Min(TrainTile, train.Count - start);
                var products = queries.narrow(0, first, rows).mm(bank.narrow(0, start, columns).t()); // (rows, columns)
                MergeTile(products, (int)start, columns, rows, k, similarities, neighbours);
            }

            for (var row = 0; row < rows; row++)
            {
                predicted[first + row] = Vote(similarities.AsSpan(row * k, k), neighbours.AsSpan(row * k, k), labels, classes, temperature);
            }
        }

        return predicted;
    }

    /// <summary>Correct predictions in percent.</summary>
    /// <inheritdoc cref="Predict"/>
    public static double Accuracy(FeatureBank train, FeatureBank test, int k, double? temperature)
    {
        var labels = test.Classes(nameof(test));
        var predicted = Predict(train, test, k, temperature);
        return 100.0 * labels.Where((label, i) => predicted[i] == label).Count() / labels.Length;
    }

    private static unsafe void MergeTile(Tensor products, int start, int columns, int rows, int k, float[] similarities, int[] neighbours)
    {
        fixed (byte* pointer = products.bytes)
        {
            var memory = (nint)pointer;
            Parallel.For(0, rows, row => Insert(
                new ReadOnlySpan<float>((float*)memory + ((long)row * columns), columns),
                start,
                similarities.AsSpan(row * k, k),
                neighbours.AsSpan(row * k, k)));
        }
    }

    /// <summary>Merges candidates into the best k so far, which lie in falling order; equal ones keep the order of their positions.</summary>
    private static void Insert(ReadOnlySpan<float> candidates, int start, Span<float> best, Span<int> positions)
    {
        var width = Vector<float>.Count;
        var blocks = MemoryMarshal.Cast<float, Vector<float>>(candidates);
        var threshold = new Vector<float>(best[^1]);
        for (var b = 0; b < blocks.Length; b++)
        {
            if (Vector.GreaterThanAny(blocks[b], threshold))
            {
                for (var i = b * width; i < (b + 1) * width; i++)
                {
                    InsertOne(candidates[i], start + i, best, positions);
                }

                threshold = new Vector<float>(best[^1]);
            }
        }

        for (var i = blocks.Length * width; i < candidates.Length; i++)
        {
            InsertOne(candidates[i], start + i, best, positions);
        }
    }

    private static void InsertOne(float candidate, int position, Span<float> best, Span<int> positions)
    {
        if (!(candidate > best[^1]))
        {
            return;
        }

        // The first place whose value is smaller, by halving.
        int low = 0, high = best.Length - 1;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (best[middle] >= candidate)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        best[low..^1].CopyTo(best[(low + 1)..]);
        positions[low..^1].CopyTo(positions[(low + 1)..]);
        best[low] = candidate;
        positions[low] = position;
    }

    private static long Vote(ReadOnlySpan<float> similarities, ReadOnlySpan<int> neighbours, long[] labels, int classes, double? temperature)
    {
        Span<double> scores = classes <= 1024 ? stackalloc double[classes] : new double[classes];
        scores.Clear();
        for (var i = 0; i < similarities.Length; i++)
        {
            // Relative to the nearest one: the same order of scores, and no overflow for small T.
            scores[(int)labels[neighbours[i]]] += temperature is { } t ? Math.Exp((similarities[i] - similarities[0]) / t) : 1;
        }

        var winner = 0;
        for (var c = 1; c < classes; c++)
        {
            if (scores[c] > scores[winner])
            {
                winner = c;
            }
        }

        return winner;
    }
}

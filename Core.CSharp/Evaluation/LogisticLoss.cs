using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>
/// Mean cross entropy of a linear classifier plus (λ/2)‖W‖², and its gradient; the bias is not penalised.
/// Parameters lie as W (d, classes) row by row, then b (classes). Rows are worked through in chunks that stay in the processor's cache.
/// </summary>
internal sealed class LogisticLoss : IDisposable
{
    private const int ChunkElements = 1 << 20; // 4 MB of features

    private readonly Tensor rows;
    private readonly Tensor labels;
    private readonly Tensor weight;
    private readonly Tensor bias;
    private readonly int chunk;
    private readonly int classes;

    /// <param name="rows">(N, d) float32, standardised.</param>
    /// <param name="labels">(N) int64.</param>
    /// <param name="classes">Number of classes.</param>
    public LogisticLoss(Tensor rows, Tensor labels, int classes)
    {
        this.rows = rows;
        this.labels = labels;
        this.classes = classes;
        weight = zeros(rows.shape[1], classes).DetachFromDisposeScope();
        bias = zeros(classes).DetachFromDisposeScope();
        chunk = (int)Math.Max(256, ChunkElements / Math.Max(rows.shape[1], classes));
    }

    /// <summary>Number of parameters.</summary>
    public int Size => (int)((rows.shape[1] + 1) * classes);

    /// <summary>Value at a point; writes the gradient.</summary>
    public double Evaluate(ReadOnlySpan<double> point, Span<double> gradient, double l2)
    {
        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        Load(point, weight, bias);
        var count = rows.shape[0];
        var weightGradient = zeros_like(weight);
        var biasGradient = zeros_like(bias);
        var total = zeros(1, ScalarType.Float64);
        var transposed = weight.t().contiguous().t(); // (d, classes): with few classes the products are several times faster in this layout
        for (long at = 0; at < count; at += chunk)
        {
            using var part = NewDisposeScope();
            var length = Math.Min(chunk, count - at);
            var x = rows.narrow(0, at, length);
            var y = labels.narrow(0, at, length).unsqueeze(1); // (n, 1)
            var scores = nn.functional.log_softmax(x.mm(transposed).add_(bias), 1); // (n, classes)
            total.sub_(scores.gather(1, y).sum(ScalarType.Float64));
            scores.exp_().scatter_add_(1, y, full(length, 1, -1f)); // probabilities minus targets
            weightGradient.add_(scores.t().mm(x).t());
            biasGradient.add_(scores.sum([0L]));
        }

        var squares = 0.0;
        var weights = Values(weightGradient);
        for (var i = 0; i < weights.Length; i++)
        {
            gradient[i] = (weights[i] / (double)count) + (l2 * point[i]);
            squares += point[i] * point[i];
        }

        var biases = Values(biasGradient);
        for (var i = 0; i < biases.Length; i++)
        {
            gradient[weights.Length + i] = biases[i] / (double)count;
        }

        return (total.item<double>() / count) + (0.5 * l2 * squares);
    }

    /// <summary>Copies parameters into tensors W (d, classes) and b (classes), float32.</summary>
    public static void Load(ReadOnlySpan<double> point, Tensor weight, Tensor bias)
    {
        var weights = Values(weight);
        for (var i = 0; i < weights.Length; i++)
        {
            weights[i] = (float)point[i];
        }

        var biases = Values(bias);
        for (var i = 0; i < biases.Length; i++)
        {
            biases[i] = (float)point[weights.Length + i];
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        weight.Dispose();
        bias.Dispose();
    }

    private static Span<float> Values(Tensor tensor) => MemoryMarshal.Cast<byte, float>(tensor.bytes);
}

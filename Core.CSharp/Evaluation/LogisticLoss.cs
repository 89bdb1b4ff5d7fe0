using SslResearch.Core.Runtime;
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
    private const int ChunkElements = 1 << 20; // 4 MB of features in float32

    private readonly Tensor rows;
    private readonly Tensor labels;
    private readonly Tensor weight;
    private readonly Tensor bias;
    private readonly int chunk;
    private readonly int classes;

    /// <param name="rows">(N, d) float32 or float64, standardised.</param>
    /// <param name="labels">(N) int64.</param>
    /// <param name="classes">Number of classes.</param>
    public LogisticLoss(Tensor rows, Tensor labels, int classes)
    {
        this.rows = rows;
        this.labels = labels;
        this.classes = classes;
        weight = zeros(rows.shape[1], classes, rows.dtype).DetachFromDisposeScope();
        bias = zeros(classes, rows.dtype).DetachFromDisposeScope();
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
            scores.exp_().scatter_add_(1, y, full(length, 1, Scalars.Of(-1), rows.dtype)); // probabilities minus targets
            weightGradient.add_(scores.t().mm(x).t());
            biasGradient.add_(scores.sum([0L]));
        }

        var squares = 0.0;
        var weights = Values(weightGradient);
        for (var i = 0; i < weights.Length; i++)
        {
            gradient[i] = (weights[i] / count) + (l2 * point[i]);
            squares += point[i] * point[i];
        }

        var biases = Values(biasGradient);
        for (var i = 0; i < biases.Length; i++)
        {
            gradient[weights.Length + i] = biases[i] / count;
        }

        return (total.item<double>() / count) + (0.5 * l2 * squares);
    }

    /// <summary>Second derivatives by each parameter at a point: Σ p(1 − p)·x²/N + λ, and without λ for the bias, never below a trace.</summary>
    public void Curvatures(ReadOnlySpan<double> point, Span<double> second, double l2)
    {
        const double Trace = 1e-12;
        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        Load(point, weight, bias);
        var squares = zeros_like(weight);
        var ones = zeros_like(bias);
        for (long at = 0; at < rows.shape[0]; at += chunk)
        {
            using var part = NewDisposeScope();
            var x = rows.narrow(0, at, Math.Min(chunk, rows.shape[0] - at));
            var p = nn.functional.softmax(addmm(bias, x, weight, 1, 1), 1);
            var spread = p.mul(p.neg().add_(Scalars.Of(1))); // (n, classes)
            squares.add_(x.square().t().mm(spread));
            ones.add_(spread.sum([0L]));
        }

        var (ofWeights, ofBiases) = (Values(squares), Values(ones));
        for (var i = 0; i < second.Length; i++)
        {
            second[i] = Math.Max(
                Trace, i < ofWeights.Length ? (ofWeights[i] / rows.shape[0]) + l2 : ofBiases[i - ofWeights.Length] / rows.shape[0]);
        }
    }

    /// <summary>Copies parameters into tensors W (d, classes) and b (classes), float32 or float64.</summary>
    public static void Load(ReadOnlySpan<double> point, Tensor weight, Tensor bias)
    {
        var weights = (int)weight.numel();
        Copy(point[..weights], weight);
        Copy(point[weights..], bias);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        weight.Dispose();
        bias.Dispose();
    }

    private static void Copy(ReadOnlySpan<double> values, Tensor to)
    {
        if (to.dtype == ScalarType.Float64)
        {
            values.CopyTo(MemoryMarshal.Cast<byte, double>(to.bytes));
            return;
        }

        var floats = MemoryMarshal.Cast<byte, float>(to.bytes);
        for (var i = 0; i < values.Length; i++)
        {
            floats[i] = (float)values[i];
        }
    }

    private static double[] Values(Tensor tensor) => tensor.to(ScalarType.Float64).data<double>().ToArray();
}

using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Contrastive cross entropy of one direction (van den Oord et al. 2018, eq. 4): who of several candidates belongs to a vector. The methods
/// that use it differ in who the candidates are; similarities are cosines over τ throughout, and the result is the mean over the N rows.
/// </summary>
public static class InfoNce
{
    // Similarities of a batch of 256 with so many vectors stay in a core's cache.
    private const long BlockOfQueue = 512;

    // The exponential of it, times a million vectors, is a float32, and so is that of its negative: no maximum has to be taken off before.
    private const double SafeExponent = 60;

    /// <summary>
    /// Each query has to tell its own key from the K vectors of a queue (He et al. 2020, eq. 1):
    /// −log( exp(q·k₊/τ) / (exp(q·k₊/τ) + Σ exp(q·nⱼ/τ)) ). Other keys of the batch are no candidates.
    /// </summary>
    /// <param name="queries">(N, d) float32 or float64, any length.</param>
    /// <param name="keys">(N, d), any length: row i belongs to query i. A target, taken without gradient.</param>
    /// <param name="negatives">(K, d), rows of unit length (they are not normalised again). Without gradient.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>Scalar of the queries' dtype, with its graph; finite, and so is its gradient, also where all rows are equal or zero.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ is not positive.</exception>
    public static Tensor Queue(Tensor queries, Tensor keys, Tensor negatives, double temperature)
    {
        CheckPair(queries, keys, nameof(keys), temperature);
        if (negatives.shape is not [> 0, var width] || width != queries.shape[1])
        {
            throw new ArgumentException($"expected (K, {queries.shape[1]}) with K ≥ 1, received ({string.Join(", ", negatives.shape)})", nameof(negatives));
        }

        using var scope = NewDisposeScope();
        if (1 / temperature <= SafeExponent && QueueKernels.Serves(queries, negatives) && QueueKernels.Serves(keys, negatives))
        {
            var bounded = UnitRows.Bounded(queries);
            var (mean, gradient) = QueueKernels.Contrast(bounded, UnitRows.Bounded(keys.detach()), negatives, temperature, UnitRows.Floor);
            return CustomBackward.Loss(bounded, mean, gradient).MoveToOuterDisposeScope();
        }

        var query = UnitRows.Of(queries).mul(Scalars.Of(1 / temperature)); // (N, d)
        var positive = query.mul(UnitRows.Of(keys.detach())).sum([1L]); // (N)
        var (total, slope) = LogSumExp(query.detach(), negatives.detach());
        var others = total.add(query.sub(query.detach()).mul(slope).sum([1L])); // (N); what is added is 0, and its gradient is the slope

        // The same as cross entropy over the K+1 logits, without a copy of them.
        return nn.functional.logsigmoid(positive.sub(others)).mean().neg().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Each query has to find its key among the N keys of the batch, times 2τ (Chen, Xie and He 2021, algorithm 1: one of the two directions).
    /// </summary>
    /// <param name="queries">(N, d) float32 or float64, any length.</param>
    /// <param name="keys">(N, d), any length: row i belongs to query i. A target, taken without gradient.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>As <see cref="Queue"/>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ is not positive.</exception>
    public static Tensor Batch(Tensor queries, Tensor keys, double temperature)
    {
        CheckPair(queries, keys, nameof(keys), temperature);
        using var scope = NewDisposeScope();
        return Among(queries, keys.detach(), temperature).mul(Scalars.Of(2 * temperature)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Each neighbour has to find the prediction made for its image among the N predictions (Dwibedi et al. 2021, section 3.2: one of the two
    /// directions). Here the candidates carry the gradient, not the vector that looks for them.
    /// </summary>
    /// <param name="neighbours">(N, d) float32 or float64, any length: what a queue holds nearest to one view. A target, taken without gradient.</param>
    /// <param name="predictions">(N, d), any length: the predictor's output for the other view.</param>
    /// <param name="temperature">τ &gt; 0.</param>
    /// <returns>As <see cref="Queue"/>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or τ is not positive.</exception>
    public static Tensor Neighbours(Tensor neighbours, Tensor predictions, double temperature)
    {
        CheckPair(neighbours, predictions, nameof(predictions), temperature);
        using var scope = NewDisposeScope();
        return Among(neighbours.detach(), predictions, temperature).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// ln(1+K): the value of <see cref="Queue"/> where all 1+K similarities of a query are equal, exactly so at collapse, once the queue holds
    /// nothing but the one vector. Where similarities scatter by a small deviation σ and the key is no more similar than the rest, the expected
    /// value is ln(1+K) + σ²/(2τ²), nearly. It is no bound on the loss of random weights: while the queue still holds its random start, a key
    /// is told from it by not being random, and the loss begins below.
    /// </summary>
    public static double Chance(int negatives) => Math.Log(1.0 + negatives);

    /// <summary>ln N: the value of <see cref="Neighbours"/>, and of <see cref="Batch"/> over its factor 2τ, where all similarities are equal.</summary>
    public static double BatchChance(int images) => Math.Log(images);

    private static Tensor Among(Tensor rows, Tensor candidates, double temperature)
    {
        var searching = UnitRows.Of(rows).mul(Scalars.Of(1 / temperature)); // (N, d)
        var logits = MatrixProduct.Linear(searching, UnitRows.Of(candidates)); // (N, N)
        var own = arange(Scalars.Of(rows.shape[0]), dtype: ScalarType.Int64, device: rows.device);
        return nn.functional.cross_entropy(logits, own);
    }

    /// <summary>
    /// log Σⱼ exp(x·nⱼ) and its derivative by x, Σⱼ softmaxⱼ·nⱼ, block by block: the similarities with a long queue are never all in memory.
    /// What is largest so far is taken off all exponents.
    /// </summary>
    /// <param name="rows">(N, d), no gradient.</param>
    /// <param name="others">(K, d), no gradient.</param>
    /// <returns>(N) and (N, d).</returns>
    private static (Tensor Value, Tensor Slope) LogSumExp(Tensor rows, Tensor others)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var count = others.size(0);
        var largest = full([rows.size(0), 1L], Scalars.Of(double.NegativeInfinity), rows.dtype, rows.device);
        var sum = zeros_like(largest);
        var slope = zeros_like(rows);
        for (var at = 0L; at < count; at += BlockOfQueue)
        {
            using var block = NewDisposeScope();
            var some = others.narrow(0, at, Math.Min(BlockOfQueue, count - at)); // (B, d)
            var similarities = rows.matmul(some.t()); // (N, B)
            var next = largest.maximum(similarities.amax([1L], keepdim: true));
            var less = largest.sub(next).exp_();
            similarities.sub_(next).exp_();
            sum.mul_(less).add_(similarities.sum([1L], keepdim: true));
            slope.mul_(less).addmm_(similarities, some);
            largest.copy_(next);
        }

        return (sum.log().add_(largest).squeeze(1).MoveToOuterDisposeScope(), slope.div_(sum).MoveToOuterDisposeScope());
    }

    private static void CheckPair(Tensor first, Tensor second, string name, double temperature)
    {
        if (first.shape is not [> 0, > 0] || !first.shape.AsSpan().SequenceEqual(second.shape))
        {
            throw new ArgumentException(
                $"expected two times (N, d) with N ≥ 1, received ({string.Join(", ", first.shape)}) and ({string.Join(", ", second.shape)})", name);
        }

        if (!(temperature > 0) || !double.IsFinite(temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {temperature}.", nameof(temperature));
        }
    }
}

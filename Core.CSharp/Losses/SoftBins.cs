using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Bins on a square grid of the ab plane, and the soft encoding of colours by them (Zhang et al. 2016, section 2.1): the K nearest bins,
/// weighted by a Gaussian of their distance. A table by grid cell names the few bins that can be among the nearest, so no pixel is compared
/// with all of them.
/// </summary>
public sealed class SoftBins : IDisposable
{
    private readonly int step;
    private readonly int neighbours;
    private readonly double sigma;
    private readonly int reach;
    private readonly Tensor centres; // (Q, 2) float32
    private readonly Tensor candidates; // ((2·reach + 1)², W) int64, each row nearest first
    private readonly Tensor smoothing; // (Q, Q) float32, columns sum to 1

    /// <param name="bins">Centres, multiples of <paramref name="step"/>.</param>
    /// <param name="step">Distance of the grid's points.</param>
    /// <param name="neighbours">K, from 1 to the number of bins.</param>
    /// <param name="sigma">Deviation of the Gaussian, above 0.</param>
    /// <param name="device">Where colours will lie.</param>
    /// <exception cref="ArgumentException">No or equal bins, bins off the grid, K or σ out of range.</exception>
    public SoftBins(IReadOnlyList<(int A, int B)> bins, int step, int neighbours, double sigma, Device device)
    {
        if (step < 1 || bins.Count == 0 || bins.Distinct().Count() != bins.Count || bins.Any(q => q.A % step != 0 || q.B % step != 0))
        {
            throw new ArgumentException($"Bins are distinct points of a grid of step {step} or more; received {bins.Count} that are not.", nameof(bins));
        }

        if (neighbours < 1 || neighbours > bins.Count)
        {
            throw new ArgumentException($"Colours are encoded by 1 to {bins.Count} of the bins; received {neighbours}.", nameof(neighbours));
        }

        if (!(sigma > 0) || !double.IsFinite(sigma))
        {
            throw new ArgumentException($"The deviation must be positive; received {sigma}.", nameof(sigma));
        }

        (this.step, this.neighbours, this.sigma) = (step, neighbours, sigma);
        Count = bins.Count;
        reach = bins.Max(q => Math.Max(Math.Abs(q.A), Math.Abs(q.B))) / step;
        using var scope = NewDisposeScope();
        centres = tensor(bins.SelectMany(q => new float[] { q.A, q.B }).ToArray()).reshape(Count, 2).to(device).DetachFromDisposeScope();
        candidates = Candidates(bins).to(device).DetachFromDisposeScope();
        var distances = bins.SelectMany(p => bins.Select(q => (float)SquaredDistance(p, q))).ToArray();
        smoothing = nn.functional.softmax(tensor(distances).mul_(-1 / (2 * sigma * sigma)).reshape(Count, Count), 0).to(device).DetachFromDisposeScope();
    }

    /// <summary>Q.</summary>
    public int Count { get; }

    /// <summary>The K nearest bins of each colour and their shares, ∝ exp(−d²/2σ²).</summary>
    /// <param name="chroma">
    /// (M, 2) float32: a* and b*. The nearest bins are exact for colours nearest to one of the bins, as all of sRGB are; further out the choice among
    /// bins is by the colour's cell.
    /// </param>
    /// <returns>(M, K) int64, nearest first, and (M, K) float32, rows sum to 1.</returns>
    /// <exception cref="ArgumentException">Not (M, 2).</exception>
    public (Tensor Bins, Tensor Shares) Encode(Tensor chroma)
    {
        if (chroma.shape is not [_, 2])
        {
            throw new ArgumentException($"expected (M, 2), received ({string.Join(", ", chroma.shape)})", nameof(chroma));
        }

        using var scope = NewDisposeScope();
        var cell = chroma.mul(1.0 / step).round_().clamp_(-reach, reach).add_(reach).to(ScalarType.Int64); // (M, 2)
        var flat = cell.select(1, 0).mul((2 * reach) + 1).add_(cell.select(1, 1)); // (M)
        var near = candidates.index_select(0, flat); // (M, W)
        var offset = centres.index_select(0, near.flatten()).reshape(near.shape[0], near.shape[1], 2).sub_(chroma.unsqueeze(1)); // (M, W, 2)
        var (distance, place) = offset.square().sum([2L]).topk(neighbours, 1, largest: false, sorted: true); // (M, K)
        var shares = nn.functional.softmax(distance.mul_(-1 / (2 * sigma * sigma)), 1);
        return (near.gather(1, place).MoveToOuterDisposeScope(), shares.MoveToOuterDisposeScope());
    }

    /// <summary>Part of the colours nearest to each bin.</summary>
    /// <param name="nearest">(M) int64.</param>
    /// <returns>(Q) float32; sums to 1.</returns>
    public Tensor Frequencies(Tensor nearest)
    {
        using var scope = NewDisposeScope();
        var counts = zeros(Count, ScalarType.Float32, nearest.device);
        var ones = torch.ones(nearest.shape[0], ScalarType.Float32, nearest.device);

        // Whole numbers below 2^24 add exactly, in any order.
        return counts.index_add_(0, nearest, ones, 1).div_(nearest.shape[0]).MoveToOuterDisposeScope();
    }

    /// <summary>Frequencies spread over near bins by the same Gaussian; each bin's own part is kept as a whole.</summary>
    /// <param name="frequencies">(Q).</param>
    /// <returns>(Q), the same sum.</returns>
    public Tensor Smooth(Tensor frequencies) => smoothing.mv(frequencies);

    /// <inheritdoc/>
    public void Dispose()
    {
        centres.Dispose();
        candidates.Dispose();
        smoothing.Dispose();
    }

    private static long SquaredDistance((int A, int B) p, (int A, int B) q) =>
        ((long)(p.A - q.A) * (p.A - q.A)) + ((long)(p.B - q.B) * (p.B - q.B));

    /// <summary>
    /// A colour lies within ρ = step/√2 of its cell's centre, so what is among its K nearest is within d_K + 2ρ of the centre, d_K being the
    /// distance of the centre's own K-th. Every cell gets as many bins as the neediest cell of a bin.
    /// </summary>
    private Tensor Candidates(IReadOnlyList<(int A, int B)> bins)
    {
        var cells = (from a in Enumerable.Range(-reach, (2 * reach) + 1) from b in Enumerable.Range(-reach, (2 * reach) + 1) select (A: a * step, B: b * step)).ToArray();
        var known = bins.ToHashSet();
        var sorted = cells.Select(c => Enumerable.Range(0, bins.Count).OrderBy(i => SquaredDistance(c, bins[i])).ThenBy(i => i).ToArray()).ToArray();
        var width = neighbours;
        for (var c = 0; c < cells.Length; c++)
        {
            if (known.Contains(cells[c]))
            {
                var limit = Math.Sqrt(SquaredDistance(cells[c], bins[sorted[c][neighbours - 1]])) + (Math.Sqrt(2) * step);
                width = Math.Max(width, sorted[c].Count(i => Math.Sqrt(SquaredDistance(cells[c], bins[i])) <= limit));
            }
        }

        return tensor(sorted.SelectMany(order => order.Take(width).Select(i => (long)i)).ToArray()).reshape(cells.Length, width);
    }
}

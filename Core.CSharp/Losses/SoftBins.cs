using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Losses;

/// <summary>
/// Bins on a square grid of the ab plane, and the soft encoding of colours by them (Zhang et al. 2016, section 2.1): the K nearest bins,
/// weighted by a Gaussian of their distance. A table by small cells names the few bins that can be among the nearest, so no pixel is compared
/// with all of them.
/// </summary>
public sealed class SoftBins : IDisposable
{
    // Cells of the table along the distance of two bins: smaller cells have fewer bins to choose from.
    private const int Fine = 4;

    // What one item of the loop encodes.
    private const int ColoursAtOnce = 64;

    private readonly int step;
    private readonly int neighbours;
    private readonly double sigma;
    private readonly int side;
    private readonly int width;
    private readonly float[] centreTable;
    private readonly int[] candidateTable;
    private readonly Tensor centres; // (Q, 2) float32
    private readonly Tensor candidates; // (side², W) int64, each row nearest first
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
        side = ((2 * bins.Max(q => Math.Max(Math.Abs(q.A), Math.Abs(q.B))) / step) + 1) * Fine;
        using var scope = NewDisposeScope();
        centreTable = [.. bins.SelectMany(q => new float[] { q.A, q.B })];
        candidateTable = Candidates(bins);
        width = candidateTable.Length / (side * side);
        centres = tensor(centreTable).reshape(Count, 2).to(device).DetachFromDisposeScope();
        candidates = tensor(candidateTable).to(ScalarType.Int64).reshape(side * side, width).to(device).DetachFromDisposeScope();
        var distances = bins.SelectMany(p => bins.Select(q => (float)SquaredDistance(p, q))).ToArray();
        smoothing = nn.functional.softmax(tensor(distances).mul_(Scalars.Of(-1 / (2 * sigma * sigma))).reshape(Count, Count), 0).to(device).DetachFromDisposeScope();
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

        return CpuFloats.Holds(chroma) ? EncodeByLoop(chroma) : EncodeByTensors(chroma);
    }

    /// <summary>The twin of <see cref="EncodeByLoop"/> for any device.</summary>
    internal (Tensor Bins, Tensor Shares) EncodeByTensors(Tensor chroma)
    {
        using var scope = NewDisposeScope();
        var cell = chroma.mul(Scalars.Of((double)Fine / step)).add_(Scalars.Of(side / 2.0)).floor_().clamp_(Scalars.Of(0), Scalars.Of(side - 1)).to(ScalarType.Int64); // (M, 2)
        var flat = cell.select(1, 0).mul(Scalars.Of(side)).add_(cell.select(1, 1)); // (M)
        var near = candidates.index_select(0, flat); // (M, W)
        var offset = centres.index_select(0, near.flatten()).reshape(near.shape[0], near.shape[1], 2).sub_(chroma.unsqueeze(1)); // (M, W, 2)
        var (distance, place) = offset.square().sum([2L]).topk(neighbours, 1, largest: false, sorted: true); // (M, K)
        var shares = nn.functional.softmax(distance.mul_(Scalars.Of(-1 / (2 * sigma * sigma))), 1);
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
        return counts.index_add_(0, nearest, ones, Scalars.Of(1)).div_(Scalars.Of(nearest.shape[0])).MoveToOuterDisposeScope();
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

    /// <summary>The same on the CPU, colour by colour, several times faster.</summary>
    private unsafe (Tensor Bins, Tensor Shares) EncodeByLoop(Tensor chroma)
    {
        using var rows = chroma.contiguous();
        var count = (int)rows.shape[0];
        var nearest = empty(count, neighbours, ScalarType.Int64);
        var shares = empty(count, neighbours, ScalarType.Float32);
        var kernel = new EncodeKernel
        {
            Bins = this,
            Colours = CpuFloats.Pointer(rows),
            Count = count,
            Nearest = (long*)Aten.DataPointer(nearest),
            Shares = CpuFloats.Pointer(shares),
        };
        NativeParallel.For(ref kernel, (count + ColoursAtOnce - 1) / ColoursAtOnce);
        return (nearest, shares);
    }

    /// <summary>The nearest bins of one colour and their shares.</summary>
    private unsafe void EncodeOne(float* colour, long* target, float* part)
    {
        var (scale, middle, decay) = ((float)Fine / step, side / 2f, (float)(-1 / (2 * sigma * sigma)));
        var (row, column) = (Math.Clamp((int)MathF.Floor((colour[0] * scale) + middle), 0, side - 1), Math.Clamp((int)MathF.Floor((colour[1] * scale) + middle), 0, side - 1));
        var known = 0; // so many distances lie in part, smallest first
        foreach (var bin in candidateTable.AsSpan(((row * side) + column) * width, width))
        {
            var (a, b) = (centreTable[2 * bin] - colour[0], centreTable[(2 * bin) + 1] - colour[1]);
            var distance = (a * a) + (b * b);
            if (known == neighbours && !(distance < part[known - 1]))
            {
                continue;
            }

            known = Math.Min(known + 1, neighbours);
            var place = known - 1;
            for (; place > 0 && distance < part[place - 1]; place--)
            {
                (part[place], target[place]) = (part[place - 1], target[place - 1]);
            }

            (part[place], target[place]) = (distance, bin);
        }

        var (least, sum) = (part[0], 0f);
        for (var i = 0; i < neighbours; i++)
        {
            sum += part[i] = MathF.Exp((part[i] - least) * decay);
        }

        for (var i = 0; i < neighbours; i++)
        {
            part[i] /= sum;
        }
    }

    private static long SquaredDistance((int A, int B) p, (int A, int B) q) =>
        ((long)(p.A - q.A) * (p.A - q.A)) + ((long)(p.B - q.B) * (p.B - q.B));

    /// <summary>
    /// A colour lies within ρ of its cell's centre, half the cell's diagonal, so what is among its K nearest is within d_K + 2ρ of the centre, d_K
    /// being the distance of the centre's own K-th. Every cell gets as many bins as the neediest cell that lies nearest to a bin.
    /// Lengths are in half cells here, so that squares are whole numbers.
    /// </summary>
    private int[] Candidates(IReadOnlyList<(int A, int B)> bins)
    {
        const int Unit = 2 * Fine;
        var known = bins.Select(q => (q.A / step, q.B / step)).ToHashSet();
        var sorted = new long[side * side][];
        var most = neighbours;
        for (var cell = 0; cell < sorted.Length; cell++)
        {
            var (a, b) = (Centre(cell / side), Centre(cell % side));
            var keys = bins.Select((q, i) => (SquaredDistance((a, b), (q.A / step * Unit, q.B / step * Unit)) * bins.Count) + i).ToArray();
            Array.Sort(keys);
            sorted[cell] = keys;
            if (known.Contains((Nearest(a), Nearest(b))))
            {
                var limit = Math.Sqrt(keys[neighbours - 1] / bins.Count) + (2 * Math.Sqrt(2)) + 0.01; // the last for rounding at the cell's edge
                most = Math.Max(most, keys.Count(k => Math.Sqrt(k / bins.Count) <= limit));
            }
        }

        return [.. sorted.SelectMany(keys => keys.Take(most).Select(k => (int)(k % bins.Count)))];

        int Centre(int place) => (2 * place) + 1 - side;
        static int Nearest(int length) => (int)Math.Floor((length + Fine) / (double)Unit);
    }

    private unsafe struct EncodeKernel : IRangeKernel
    {
        public SoftBins Bins;
        public float* Colours;
        public int Count;
        public long* Nearest;
        public float* Shares;

        public readonly void Run(int from, int to)
        {
            for (var m = from * ColoursAtOnce; m < Math.Min(to * ColoursAtOnce, Count); m++)
            {
                Bins.EncodeOne(Colours + (2L * m), Nearest + ((long)m * Bins.neighbours), Shares + ((long)m * Bins.neighbours));
            }
        }
    }
}

using SslResearch.Core.Runtime;

namespace SslResearch.Core.Augment;

/// <summary>
/// Draws the mask of one crop (iBOT, DINOv2): with a probability some patches are hidden, else none; the share is uniform in a range; the patches are
/// strewn, or lie in rectangles of random area and shape that may overlap (Bao et al. 2022, algorithm 1). Where no further rectangle fits, single
/// patches at random make up the number (as DINOv3 does), so that it is exact.
/// </summary>
public sealed class CropMask
{
    // Rectangles drawn until one fits; BEiT, iBOT and DINOv2 try as often.
    private const int Attempts = 10;

    private readonly CropMaskOptions options;
    private readonly int rows, columns;

    /// <param name="rows">Patches along a crop's height.</param>
    /// <param name="columns">Patches along its width.</param>
    /// <param name="options">Which are hidden.</param>
    /// <exception cref="ArgumentException">An option out of its range.</exception>
    public CropMask(int rows, int columns, CropMaskOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(columns, 1);
        ArgumentNullException.ThrowIfNull(options);
        if (options.Probability is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"a crop hides patches with a probability from 0 to 1; received {options.Probability}", nameof(options));
        }

        if (!(options.MinShare >= 0 && options.MinShare <= options.MaxShare && options.MaxShare <= 1))
        {
            throw new ArgumentException($"the share of hidden patches goes from 0 or more to 1 or less, the smaller one first; received {options.MinShare} to {options.MaxShare}", nameof(options));
        }

        if (options.Blocks is { } blocks && (blocks.LeastPatches < 1 || !(blocks.LeastRatio > 0 && blocks.LeastRatio <= 1)))
        {
            throw new ArgumentException(
                $"rectangles of hidden patches hold at least 1, and their least height over width is above 0 and at most 1; received {blocks.LeastPatches} and {blocks.LeastRatio}", nameof(options));
        }

        (this.rows, this.columns, this.options) = (rows, columns, options);
        Most = Count(options.MaxShare);
    }

    /// <summary>P: patches of a crop.</summary>
    public int Patches => rows * columns;

    /// <summary>The most that a crop hides.</summary>
    public int Most { get; }

    /// <summary>The mask of one crop: a pure function of the position. Allocates nothing.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="view">Which of its crops.</param>
    /// <param name="mask">(P), filled: 1 for hidden patches, row by row, 0 for others.</param>
    /// <returns>How many are hidden: the share times P, rounded, at least 1; or 0 where the crop hides nothing.</returns>
    public int Draw(ulong seed, int epoch, long index, int view, Span<float> mask)
    {
        if (mask.Length != Patches)
        {
            throw new ArgumentException($"expected {Patches} patches, received {mask.Length}", nameof(mask));
        }

        mask.Clear();
        var random = new Philox(seed, RandomPurpose.Mask, (uint)epoch, checked((uint)index), checked((ushort)view));
        if (!(random.NextDouble() < options.Probability))
        {
            return 0;
        }

        var wanted = Count(random.NextDouble(options.MinShare, options.MaxShare));
        var hidden = options.Blocks is { } blocks ? HideRectangles(ref random, blocks, mask, wanted) : 0;
        Strew(ref random, mask, Patches - hidden, wanted - hidden);
        return wanted;
    }

    private int Count(double share) => Math.Clamp((int)Math.Round(share * Patches, MidpointRounding.AwayFromZero), 1, Patches);

    /// <returns>How many patches they hide, at most <paramref name="wanted"/>.</returns>
    private int HideRectangles(ref Philox random, CropMaskBlocks blocks, Span<float> mask, int wanted)
    {
        var hidden = 0;
        for (var attempt = 0; attempt < Attempts && hidden < wanted; attempt++)
        {
            var left = wanted - hidden;
            var area = random.NextDouble(Math.Min(blocks.LeastPatches, left), left);
            var ratio = Math.Exp(random.NextDouble(Math.Log(blocks.LeastRatio), -Math.Log(blocks.LeastRatio)));
            var (height, width) = (Side(area * ratio), Side(area / ratio));
            if (height > rows || width > columns)
            {
                continue;
            }

            var top = (int)random.NextBelow((uint)(rows - height + 1));
            var first = (int)random.NextBelow((uint)(columns - width + 1));
            var visible = 0;
            for (var y = top; y < top + height; y++)
            {
                visible += mask.Slice((y * columns) + first, width).Count(0f);
            }

            if (visible > 0 && visible <= left)
            {
                for (var y = top; y < top + height; y++)
                {
                    mask.Slice((y * columns) + first, width).Fill(1);
                }

                hidden += visible;
                attempt = -1; // as many for the next one
            }
        }

        return hidden;
    }

    private static int Side(double square) => Math.Max(1, (int)Math.Round(Math.Sqrt(square), MidpointRounding.AwayFromZero));

    /// <summary>Hides <paramref name="count"/> of the visible patches, every choice equally likely (Knuth, The Art of Computer Programming 2, 3.4.2, S).</summary>
    private static void Strew(ref Philox random, Span<float> mask, int visible, int count)
    {
        for (var p = 0; count > 0; p++)
        {
            if (mask[p] == 0)
            {
                if (random.NextBelow((uint)visible) < count)
                {
                    mask[p] = 1;
                    count--;
                }

                visible--;
            }
        }
    }
}

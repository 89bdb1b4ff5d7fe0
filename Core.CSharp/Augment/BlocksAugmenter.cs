using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>
/// One view of each image with I-JEPA's multi-block mask (Assran et al. 2023, section 3 and figure 4): M rectangles of patches are targets; the
/// context comes from a large square of patches, less all targets.
/// </summary>
/// <remarks>
/// The authors draw the sizes of blocks once for a batch and cut every context to the batch's smallest. Here an image's mask is a function of
/// (seed, epoch, index) alone, so counts are fixed beforehand. All targets have one area Kt: of the areas in the wanted range, rounded outward to
/// whole patches, the one with the most rectangles of a wanted ratio, the largest of equals; which of these rectangles, and where it lies, is drawn
/// for each block. A block that would leave fewer than Kc patches of context is drawn again; after <see cref="Draws"/> draws it repeats the block
/// before it, which takes nothing more away. Of a context with more than Kc patches random ones are dropped, where the authors drop the last ones.
/// Blocks can touch every edge; the authors' never touch the lower and the right one.
/// </remarks>
public sealed class BlocksAugmenter : IAugmenter<ContextTargets>, IViewSource
{
    /// <summary>Draws of one target block before it repeats the one before it.</summary>
    public const int Draws = 64;

    /// <summary>Most patches of a view: room for them is taken on the stack.</summary>
    public const int MostPatches = 4096;

    // Room for what multiplication adds to shares and ratios that are meant exactly: 0.15 · 20 is no more than 3 patches.
    private const double Slack = 1e-9;

    private readonly ViewPipeline pipeline;
    private readonly BlocksOptions options;
    private readonly (int Height, int Width)[] shapes;

    /// <summary>Views by <paramref name="pipeline"/>.</summary>
    /// <exception cref="ArgumentException">An option out of its range, or a grid of patches that such blocks do not fit.</exception>
    public BlocksAugmenter(ViewPipeline pipeline, BlocksOptions options)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(options);
        Check(options);
        var size = pipeline.Output;
        if (size.Height % options.Patch != 0 || size.Width % options.Patch != 0)
        {
            throw new ArgumentException($"patches of {options.Patch} pixels do not divide views of {size}: give a patch that divides both sides", nameof(options));
        }

        this.pipeline = pipeline;
        this.options = options;
        (Rows, Columns) = (size.Height / options.Patch, size.Width / options.Patch);
        if (Patches > MostPatches)
        {
            throw new ArgumentException($"{Rows}x{Columns} patches are more than {MostPatches}: give larger patches or smaller views", nameof(options));
        }

        shapes = Shapes();
        TargetCount = shapes[0].Height * shapes[0].Width;
        ContextCount = Math.Max(1, (int)Math.Round(options.Visible * Patches, MidpointRounding.AwayFromZero));
        var least = Side(options.MinContext, Rows) * Side(options.MinContext, Columns);
        if (least - TargetCount < ContextCount)
        {
            throw new ArgumentException(
                $"a context block of {least} of {Rows}x{Columns} patches, less a target of {TargetCount}, leaves fewer than the {ContextCount} that are to be shown: "
                + "show fewer, make targets smaller or the context block larger",
                nameof(options));
        }

        Buffers =
        [
            new BufferSpec("images", torch.ScalarType.Float32, 1, [size.Channels, size.Height, size.Width]),
            new BufferSpec("context", torch.ScalarType.Int64, 1, [ContextCount]),
            new BufferSpec("targets", torch.ScalarType.Int64, 1, [options.Blocks * TargetCount]),
        ];
    }

    /// <summary>Patches along the height.</summary>
    public int Rows { get; }

    /// <summary>Patches along the width.</summary>
    public int Columns { get; }

    /// <summary>P: patches of a view.</summary>
    public int Patches => Rows * Columns;

    /// <summary>M: target blocks of each image.</summary>
    public int Blocks => options.Blocks;

    /// <summary>Kt: patches of a target block.</summary>
    public int TargetCount { get; }

    /// <summary>Kc: patches of the context.</summary>
    public int ContextCount { get; }

    /// <summary>The rectangles that a target block can be, in patches.</summary>
    public IReadOnlyList<(int Height, int Width)> TargetShapes => shapes;

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <summary>Which patches are shown and which are to be predicted: a pure function of the position. Allocates nothing.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="context">Receives the <see cref="ContextCount"/> patches that are shown.</param>
    /// <param name="targets">Receives <see cref="Blocks"/> times <see cref="TargetCount"/> patches, row by row within a block.</param>
    /// <exception cref="ArgumentException">Other lengths.</exception>
    public void Draw(ulong seed, int epoch, long index, Span<long> context, Span<long> targets)
    {
        if (context.Length != ContextCount || targets.Length != Blocks * TargetCount)
        {
            throw new ArgumentException($"expected room for {ContextCount} and {Blocks}·{TargetCount} patches, received {context.Length} and {targets.Length}");
        }

        var random = new Philox(seed, RandomPurpose.Mask, (uint)epoch, checked((uint)index));
        Span<bool> free = stackalloc bool[Patches];
        free.Clear();
        var left = DrawContext(ref random, free);
        var block = default(Rectangle);
        for (var m = 0; m < Blocks; m++)
        {
            var kept = false;
            for (var draw = 0; draw < Draws && !kept; draw++)
            {
                var next = DrawTarget(ref random);
                kept = left - Free(next, free) >= ContextCount; // the first block's first draw always is: see the constructor
                block = kept ? next : block;
            }

            left -= Free(block, free);
            Take(block, free, targets.Slice(m * TargetCount, TargetCount));
        }

        Choose(ref random, free, left, context);
    }

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        pipeline.Render(sample.Pixels, parameters, memory.Row<float>(0, 0, sample.Slot));
        Draw(sample.Seed, sample.Epoch, sample.Index, memory.Row<long>(1, 0, sample.Slot), memory.Row<long>(2, 0, sample.Slot));
    }

    /// <inheritdoc/>
    public ContextTargets Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0], tensors[1], tensors[2], Blocks, Patches);

    private static void Check(BlocksOptions options)
    {
        if (options.Patch < 1 || options.Blocks < 1)
        {
            throw new ArgumentException($"patches of at least 1 pixel and at least 1 target block are needed; received {options.Patch} and {options.Blocks}", nameof(options));
        }

        if (!IsRange(options.MinTarget, options.MaxTarget, 1) || !IsRange(options.MinContext, options.MaxContext, 1) || !IsRange(options.MinRatio, options.MaxRatio, double.MaxValue) || options.Visible is not (> 0 and <= 1))
        {
            throw new ArgumentException(
                $"shares are above 0 and at most 1, ratios above 0, and ranges go upward; received targets of {options.MinTarget} to {options.MaxTarget}, ratios {options.MinRatio} to {options.MaxRatio}, "
                + $"context blocks of {options.MinContext} to {options.MaxContext}, of which {options.Visible} is shown",
                nameof(options));
        }
    }

    private static bool IsRange(double low, double high, double most) => low > 0 && low <= high && high <= most;

    /// <summary>The rectangles of the chosen area.</summary>
    private (int Height, int Width)[] Shapes()
    {
        var least = Math.Max(1, (int)Math.Floor((options.MinTarget * Patches) + Slack));
        var most = (int)Math.Ceiling((options.MaxTarget * Patches) - Slack);
        (int Height, int Width)[] best = [];
        for (var area = least; area <= most; area++)
        {
            var found = Enumerable.Range(1, Math.Min(area, Rows))
                .Where(h => area % h == 0 && area / h <= Columns && IsWanted(h, area / h))
                .Select(h => (h, area / h))
                .ToArray();
            best = found.Length > 0 && found.Length >= best.Length ? found : best;
        }

        return best.Length > 0
            ? best
            : throw new ArgumentException(
                $"no rectangle of {least} to {most} patches, {options.MinRatio} to {options.MaxRatio} times as high as wide, fits {Rows}x{Columns} patches: widen either range, or give smaller patches",
                nameof(options));
    }

    private bool IsWanted(int height, int width) => height >= (options.MinRatio * width) - Slack && height <= (options.MaxRatio * width) + Slack;

    /// <summary>Side in patches of a square of this share, within the grid.</summary>
    private int Side(double share, int limit) => Math.Clamp((int)Math.Round(Math.Sqrt(share * Patches), MidpointRounding.AwayFromZero), 1, limit);

    /// <summary>Marks the block that the context is taken from; returns its patches.</summary>
    private int DrawContext(ref Philox random, Span<bool> free)
    {
        var share = random.NextDouble(options.MinContext, options.MaxContext);
        var block = Place(ref random, Side(share, Rows), Side(share, Columns));
        for (var row = block.Top; row < block.Top + block.Height; row++)
        {
            free.Slice((row * Columns) + block.Left, block.Width).Fill(true);
        }

        return block.Height * block.Width;
    }

    private Rectangle DrawTarget(ref Philox random)
    {
        var (height, width) = shapes[random.NextBelow((uint)shapes.Length)];
        return Place(ref random, height, width);
    }

    private Rectangle Place(ref Philox random, int height, int width)
    {
        var top = (int)random.NextBelow((uint)(Rows - height + 1));
        var left = (int)random.NextBelow((uint)(Columns - width + 1));
        return new Rectangle(top, left, height, width);
    }

    /// <summary>How many patches of a block are still free.</summary>
    private int Free(Rectangle block, ReadOnlySpan<bool> free)
    {
        var count = 0;
        for (var row = block.Top; row < block.Top + block.Height; row++)
        {
            count += free.Slice((row * Columns) + block.Left, block.Width).Count(true);
        }

        return count;
    }

    private void Take(Rectangle block, Span<bool> free, Span<long> patches)
    {
        for (var i = 0; i < patches.Length; i++)
        {
            var (row, column) = Math.DivRem(i, block.Width);
            var patch = ((block.Top + row) * Columns) + block.Left + column;
            free[patch] = false;
            patches[i] = patch;
        }
    }

    /// <summary>As many of the free patches as there is room for, each set of them equally likely.</summary>
    private static void Choose(ref Philox random, ReadOnlySpan<bool> free, int count, Span<long> chosen)
    {
        Span<int> all = stackalloc int[count];
        for (int patch = 0, at = 0; patch < free.Length; patch++)
        {
            if (free[patch])
            {
                all[at++] = patch;
            }
        }

        for (var i = 0; i < chosen.Length; i++)
        {
            var other = i + (int)random.NextBelow((uint)(count - i));
            chosen[i] = all[other];
            all[other] = all[i];
        }
    }

    private readonly record struct Rectangle(int Top, int Left, int Height, int Width);
}

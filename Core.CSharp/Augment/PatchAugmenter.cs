using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>
/// One view of each image, cut into nine patches (Noroozi and Favaro 2016). Edges must not give the neighbours away: cells lie apart by a
/// gap, and each patch is cut at a random place of its cell.
/// </summary>
/// <remarks>A cell's side is (S − 2·gap)/3 rounded down; what is left over is a margin around the grid.</remarks>
public sealed class PatchAugmenter : IAugmenter<PatchGrid>, IViewSource
{
    // Added to the variance of a patch's channel, in units of the view's normalisation: a flat patch becomes zeros and not amplified rounding.
    private const double VarianceFloor = 1e-6;

    private readonly ViewPipeline pipeline;
    private readonly PatchGridOptions options;
    private readonly int top, left;

    /// <summary>Views by <paramref name="pipeline"/>.</summary>
    /// <exception cref="ArgumentException">A size below 1, a gap below 0, or patches larger than the cells of these views.</exception>
    public PatchAugmenter(ViewPipeline pipeline, PatchGridOptions options)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(options);
        var size = pipeline.Output;
        if (options.Size < 1 || options.Gap < 0)
        {
            throw new ArgumentException($"patches need a size of at least 1 and a gap of at least 0; received size {options.Size}, gap {options.Gap}", nameof(options));
        }

        (CellHeight, CellWidth) = (Cell(size.Height, options.Gap), Cell(size.Width, options.Gap));
        if (options.Size > Math.Min(CellHeight, CellWidth))
        {
            throw new ArgumentException(
                $"patches of {options.Size} pixels do not fit cells of {CellHeight}x{CellWidth}, which is a third of {size} less gaps of {options.Gap}: make patches or gaps smaller, or views larger",
                nameof(options));
        }

        this.pipeline = pipeline;
        this.options = options;
        top = (size.Height - (PatchGrid.Side * CellHeight) - ((PatchGrid.Side - 1) * options.Gap)) / 2;
        left = (size.Width - (PatchGrid.Side * CellWidth) - ((PatchGrid.Side - 1) * options.Gap)) / 2;
        Buffers = [new BufferSpec("patches", torch.ScalarType.Float32, PatchGrid.Cells, [size.Channels, options.Size, options.Size])];
    }

    /// <summary>Rows of a cell.</summary>
    public int CellHeight { get; }

    /// <summary>Columns of a cell.</summary>
    public int CellWidth { get; }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <summary>The whole view, before it is cut.</summary>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <summary>Place of a patch in its view: a pure function of the position.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="cell">Cell, row by row, 0 to 8.</param>
    /// <returns>First row and column of the patch.</returns>
    public (int Top, int Left) Place(ulong seed, int epoch, long index, int cell)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)cell, (uint)PatchGrid.Cells, nameof(cell));
        var (freeY, freeX) = (CellHeight - options.Size, CellWidth - options.Size);
        var (dy, dx) = (freeY / 2, freeX / 2);
        if (options.Jitter)
        {
            // Streams of operations are view·256 + place in the list (ViewPipeline.Draw): view 1 is free here.
            var random = new Philox(seed, RandomPurpose.Augmentation, (uint)epoch, checked((uint)index), (ushort)((1 << 8) | cell));
            (dy, dx) = ((int)random.NextBelow((uint)freeY + 1), (int)random.NextBelow((uint)freeX + 1));
        }

        var (row, column) = (cell / PatchGrid.Side, cell % PatchGrid.Side);
        return (top + (row * (CellHeight + options.Gap)) + dy, left + (column * (CellWidth + options.Gap)) + dx);
    }

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var (size, shape) = (options.Size, pipeline.Output);
        var view = Scratch.Floats(pipeline.OutputFloats);
        pipeline.Render(sample.Pixels, pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0), view);
        for (var cell = 0; cell < PatchGrid.Cells; cell++)
        {
            var patch = memory.Row<float>(0, cell, sample.Slot);
            var (y, x) = Place(sample.Seed, sample.Epoch, sample.Index, cell);
            for (var row = 0; row < shape.Channels * size; row++)
            {
                var (channel, line) = Math.DivRem(row, size);
                view.Slice((((channel * shape.Height) + y + line) * shape.Width) + x, size).CopyTo(patch[(row * size)..]);
            }

            for (var at = 0; options.Normalise && at < patch.Length; at += size * size)
            {
                Standardise(patch.Slice(at, size * size));
            }
        }
    }

    /// <inheritdoc/>
    public PatchGrid Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);

    private static int Cell(int side, int gap) => (side - ((PatchGrid.Side - 1) * gap)) / PatchGrid.Side;

    private static void Standardise(Span<float> values)
    {
        var (sum, squares) = (0.0, 0.0);
        foreach (var value in values)
        {
            sum += value;
            squares += (double)value * value;
        }

        var mean = sum / values.Length;
        var variance = Math.Max(0, (squares / values.Length) - (mean * mean));
        var (scale, shift) = ((float)(1 / Math.Sqrt(variance + VarianceFloor)), (float)mean);
        foreach (ref var value in values)
        {
            value = (value - shift) * scale;
        }
    }
}

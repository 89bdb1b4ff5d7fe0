using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>
/// Any crops, and a mask for each of the two large ones (iBOT, DINOv2): with a probability a crop hides a share of its patches that is uniform in a
/// range, else none. Masks are drawn apart from the crops, which stay what they are without.
/// </summary>
public sealed class MaskedCropsAugmenter : IAugmenter<MaskedCrops>, IViewSource
{
    private readonly IAugmenter<MultiCrop> crops;
    private readonly CropMaskOptions options;
    private readonly int rows, columns, most;
    private readonly int buffer; // of the masks, the last one

    /// <param name="crops">Renders the crops.</param>
    /// <param name="options">Which patches are hidden.</param>
    /// <exception cref="ArgumentException">Patches that do not divide the large crops, or an option out of its range.</exception>
    public MaskedCropsAugmenter(IAugmenter<MultiCrop> crops, CropMaskOptions options)
    {
        ArgumentNullException.ThrowIfNull(crops);
        ArgumentNullException.ThrowIfNull(options);
        var globals = crops.Buffers[0];
        var (height, width) = ((int)globals.RowShape[1], (int)globals.RowShape[2]); // (C, H, W)
        if (options.Patch < 1 || height % options.Patch != 0 || width % options.Patch != 0)
        {
            throw new ArgumentException($"patches of {options.Patch} pixels do not tile large crops of {height}x{width}: crop to a multiple of the patch", nameof(options));
        }

        if (options.Probability is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"a crop hides patches with a probability from 0 to 1; received {options.Probability}", nameof(options));
        }

        if (!(options.MinShare >= 0 && options.MinShare <= options.MaxShare && options.MaxShare <= 1))
        {
            throw new ArgumentException($"the share of hidden patches goes from 0 or more to 1 or less, the smaller one first; received {options.MinShare} to {options.MaxShare}", nameof(options));
        }

        this.crops = crops;
        this.options = options;
        (rows, columns) = (height / options.Patch, width / options.Patch);
        most = options.Shape.Count(rows, columns, options.MaxShare);
        if (most == 0)
        {
            throw new ArgumentException($"a share of up to {options.MaxShare} hides none of {rows * columns} patches", nameof(options));
        }

        buffer = crops.Buffers.Count;
        Buffers = [.. crops.Buffers, new BufferSpec("masks", torch.ScalarType.Float32, globals.RowsPerImage, [rows * columns])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => crops is IViewSource source ? source.Views : [];

    /// <summary>The mask of one large crop: a pure function of the position. Allocates nothing.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="view">Which of its large crops.</param>
    /// <param name="mask">One element for each patch, filled: 1 for hidden ones, row by row, 0 for others.</param>
    /// <returns>How many are hidden: the nearest number to the share that the shape can hide, which may be none.</returns>
    public int Draw(ulong seed, int epoch, long index, int view, Span<float> mask)
    {
        mask.Clear();
        var random = new Philox(seed, RandomPurpose.Mask, (uint)epoch, checked((uint)index), checked((ushort)view));
        if (!(random.NextDouble() < options.Probability))
        {
            return 0;
        }

        var count = options.Shape.Count(rows, columns, random.NextDouble(options.MinShare, options.MaxShare));
        Span<bool> hidden = stackalloc bool[rows * columns];
        options.Shape.Draw(ref random, rows, columns, count, hidden);
        for (var patch = 0; patch < hidden.Length; patch++)
        {
            mask[patch] = hidden[patch] ? 1 : 0;
        }

        return count;
    }

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        crops.Render(sample, memory);
        for (var v = 0; v < Buffers[buffer].RowsPerImage; v++)
        {
            Draw(sample.Seed, sample.Epoch, sample.Index, v, memory.Row<float>(buffer, v, sample.Slot));
        }
    }

    /// <inheritdoc/>
    public MaskedCrops Assemble(IReadOnlyList<torch.Tensor> tensors)
    {
        var whole = crops.Assemble(tensors);
        return new MaskedCrops(whole.Globals, whole.Locals, tensors[buffer], most);
    }
}

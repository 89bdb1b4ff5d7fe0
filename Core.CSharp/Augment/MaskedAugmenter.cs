using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>One view of each image, and which of its patches are hidden: each image its own, all the same number.</summary>
public sealed class MaskedAugmenter : IAugmenter<MaskedView>, IViewSource
{
    private readonly ViewPipeline pipeline;
    private readonly PatchMask mask;

    /// <param name="pipeline">The views.</param>
    /// <param name="patch">Side of a patch in pixels; it divides the views' sides.</param>
    /// <param name="ratio">Share of the patches that is hidden, 0 to 1; the nearest number that the mask can hide.</param>
    /// <param name="mask">The shapes that they form.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit, or a ratio that leaves nothing visible or nothing hidden.</exception>
    public MaskedAugmenter(ViewPipeline pipeline, int patch, double ratio, PatchMask mask)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        ArgumentNullException.ThrowIfNull(mask);
        var size = pipeline.Output;
        if (patch < 1 || size.Height % patch != 0 || size.Width % patch != 0)
        {
            throw new ArgumentException($"patches of {patch} pixels do not tile views of {size}: end the list with a crop to a multiple of the patch", nameof(patch));
        }

        this.pipeline = pipeline;
        this.mask = mask;
        (Rows, Columns) = (size.Height / patch, size.Width / patch);
        Hidden = mask.Count(Rows, Columns, ratio);
        if (Hidden == 0 || Hidden == Rows * Columns)
        {
            throw new ArgumentException(
                $"a share of {ratio} hides {Hidden} of {Rows * Columns} patches: at least one has to be hidden, and one to stay", nameof(ratio));
        }

        Buffers =
        [
            new BufferSpec("images", torch.ScalarType.Float32, 1, [size.Channels, size.Height, size.Width]),
            new BufferSpec("order", torch.ScalarType.Int64, 1, [Rows * Columns]),
        ];
    }

    /// <summary>Patches along the height.</summary>
    public int Rows { get; }

    /// <summary>Patches along the width.</summary>
    public int Columns { get; }

    /// <summary>Hidden patches of each image.</summary>
    public int Hidden { get; }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <summary>The visible patches of an image, ascending, then its hidden ones, ascending: a pure function of the position. Allocates nothing.</summary>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="epoch">Epoch, from 0.</param>
    /// <param name="index">Position of the image in its dataset.</param>
    /// <param name="order">Receives every patch once.</param>
    public void Draw(ulong seed, int epoch, long index, Span<long> order)
    {
        var random = new Philox(seed, RandomPurpose.Mask, (uint)epoch, checked((uint)index));
        Span<bool> hidden = stackalloc bool[Rows * Columns];
        mask.Draw(ref random, Rows, Columns, Hidden, hidden);
        var (visible, masked) = (0, hidden.Length - Hidden);
        for (var patch = 0; patch < hidden.Length; patch++)
        {
            order[hidden[patch] ? masked++ : visible++] = patch;
        }
    }

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        pipeline.Render(sample.Pixels, parameters, memory.Row<float>(0, 0, sample.Slot));
        Draw(sample.Seed, sample.Epoch, sample.Index, memory.Row<long>(1, 0, sample.Slot));
    }

    /// <inheritdoc/>
    public MaskedView Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0], tensors[1], (Rows * Columns) - Hidden);
}

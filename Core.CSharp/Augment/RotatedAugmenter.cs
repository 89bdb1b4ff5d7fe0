using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>One square view of each image in its four orientations: rendered once, turned in memory.</summary>
public sealed class RotatedAugmenter : IAugmenter<RotatedView>, IViewSource
{
    private readonly ViewPipeline pipeline;
    private readonly int side;

    /// <summary>Views by <paramref name="pipeline"/>.</summary>
    /// <exception cref="ArgumentException">Its views are not square.</exception>
    public RotatedAugmenter(ViewPipeline pipeline)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        var size = pipeline.Output;
        if (size.Height != size.Width)
        {
            throw new ArgumentException($"quarter turns need square views, these are {size}: end the list with a crop to one side length", nameof(pipeline));
        }

        this.pipeline = pipeline;
        side = size.Height;
        Buffers = [new BufferSpec("rotated views", torch.ScalarType.Float32, RotatedView.Turns, [size.Channels, side, side])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        var upright = memory.Row<float>(0, 0, sample.Slot);
        pipeline.Render(sample.Pixels, parameters, upright);
        var quarter = memory.Row<float>(0, 1, sample.Slot);
        var half = memory.Row<float>(0, 2, sample.Slot);
        var threeQuarters = memory.Row<float>(0, 3, sample.Slot);
        var plane = side * side;
        for (var at = 0; at < upright.Length; at += plane)
        {
            Turn(upright.Slice(at, plane), quarter.Slice(at, plane), half.Slice(at, plane), threeQuarters.Slice(at, plane));
        }
    }

    /// <inheritdoc/>
    public RotatedView Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);

    /// <summary>One plane, counter-clockwise: what was the right edge becomes the top.</summary>
    private void Turn(ReadOnlySpan<float> source, Span<float> quarter, Span<float> half, Span<float> threeQuarters)
    {
        var last = side - 1;
        for (var y = 0; y < side; y++)
        {
            for (var x = 0; x < side; x++)
            {
                quarter[(y * side) + x] = source[(x * side) + last - y];
                threeQuarters[(y * side) + x] = source[((last - x) * side) + y];
            }
        }

        source.CopyTo(half);
        half.Reverse();
    }
}

using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>One view of each image.</summary>
public sealed class OneViewAugmenter : IAugmenter<OneView>, IViewSource
{
    private readonly ViewPipeline pipeline;

    /// <summary>Views by <paramref name="pipeline"/>.</summary>
    public OneViewAugmenter(ViewPipeline pipeline)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        this.pipeline = pipeline;
        var size = pipeline.Output;
        Buffers = [new BufferSpec("images", torch.ScalarType.Float32, 1, [size.Channels, size.Height, size.Width])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        pipeline.Render(sample.Pixels, parameters, memory.Row<float>(0, 0, sample.Slot));
    }

    /// <inheritdoc/>
    public OneView Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);
}

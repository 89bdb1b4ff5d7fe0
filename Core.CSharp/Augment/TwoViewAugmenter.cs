using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>Two views of each image, each by its own pipeline.</summary>
public sealed class TwoViewAugmenter : IAugmenter<TwoViews>, IViewSource
{
    private readonly ViewPipeline first, second;

    /// <summary>Pairs two pipelines whose views have one size.</summary>
    /// <exception cref="ArgumentException">Other sources or sizes of views.</exception>
    public TwoViewAugmenter(ViewPipeline first, ViewPipeline second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Source != second.Source || first.Output != second.Output)
        {
            throw new ArgumentException(
                $"two views need equal sizes: the first goes from {first.Source} to {first.Output}, the second from {second.Source} to {second.Output}", nameof(second));
        }

        (this.first, this.second) = (first, second);
        Buffers = [new BufferSpec("views", torch.ScalarType.Float32, 2, [first.Output.Channels, first.Output.Height, first.Output.Width])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => [first, second];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = first.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        first.Render(sample.Pixels, parameters, memory.Row<float>(0, 0, sample.Slot));
        parameters = second.Draw(sample.Seed, sample.Epoch, sample.Index, 1);
        second.Render(sample.Pixels, parameters, memory.Row<float>(0, 1, sample.Slot));
    }

    /// <inheritdoc/>
    public TwoViews Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);
}

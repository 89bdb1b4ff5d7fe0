using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>Two large crops of each image, each by its own pipeline, and L small ones by a third: view numbers 0, 1 and 2 … L+1.</summary>
public sealed class MultiCropAugmenter : IAugmenter<MultiCrop>, IViewSource
{
    /// <summary>Most small crops of an image: a view's number is one byte.</summary>
    public const int MostLocals = 254;

    private readonly ViewPipeline first, second;
    private readonly ViewPipeline? local;
    private readonly int localCount;

    /// <summary>Puts the pipelines together.</summary>
    /// <param name="first">First large crop.</param>
    /// <param name="second">Second large crop, of the same size.</param>
    /// <param name="local">Every small crop, of any size; null where there are none.</param>
    /// <param name="localCount">L: 0 without a pipeline for small crops, otherwise 1 to <see cref="MostLocals"/>.</param>
    /// <exception cref="ArgumentException">Other sources or sizes, or a number of small crops that does not fit the pipelines.</exception>
    public MultiCropAugmenter(ViewPipeline first, ViewPipeline second, ViewPipeline? local, int localCount)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Source != second.Source || first.Output != second.Output)
        {
            throw new ArgumentException(
                $"two global crops need equal sizes: the first goes from {first.Source} to {first.Output}, the second from {second.Source} to {second.Output}", nameof(second));
        }

        if (local is not null && local.Source != first.Source)
        {
            throw new ArgumentException($"local crops are cut from {local.Source}, global ones from {first.Source}", nameof(local));
        }

        if (local is null ? localCount != 0 : localCount is < 1 or > MostLocals)
        {
            throw new ArgumentException($"{localCount} local crops: give 1 to {MostLocals} with their operations, or none without", nameof(localCount));
        }

        (this.first, this.second, this.local, this.localCount) = (first, second, local, localCount);
        Buffers = local is null ? [Buffer("globals", 2, first)] : [Buffer("globals", 2, first), Buffer("locals", localCount, local)];
        Views = [first, second, .. Enumerable.Repeat(local, localCount).OfType<ViewPipeline>()];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views { get; }

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var parameters = first.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        first.Render(sample.Pixels, parameters, memory.Row<float>(0, 0, sample.Slot));
        parameters = second.Draw(sample.Seed, sample.Epoch, sample.Index, 1);
        second.Render(sample.Pixels, parameters, memory.Row<float>(0, 1, sample.Slot));
        for (var v = 0; v < localCount; v++)
        {
            parameters = local!.Draw(sample.Seed, sample.Epoch, sample.Index, 2 + v);
            local.Render(sample.Pixels, parameters, memory.Row<float>(1, v, sample.Slot));
        }
    }

    /// <inheritdoc/>
    public MultiCrop Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0], local is null ? null : tensors[1]);

    private static BufferSpec Buffer(string name, int rows, ViewPipeline pipeline) =>
        new(name, torch.ScalarType.Float32, rows, [pipeline.Output.Channels, pipeline.Output.Height, pipeline.Output.Width]);
}

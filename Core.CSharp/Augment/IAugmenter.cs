using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>Turns stored images into one batch of views. Thread-safe: workers render different images of one batch at once.</summary>
/// <typeparam name="TViews">The batch type it yields.</typeparam>
public interface IAugmenter<out TViews>
    where TViews : class, IViews
{
    /// <summary>The tensors that a batch consists of; the loader owns their memory.</summary>
    IReadOnlyList<BufferSpec> Buffers { get; }

    /// <summary>Renders every view of one image into its rows of the batch's buffers. Allocates nothing.</summary>
    void Render(in Sample sample, BatchMemory memory);

    /// <summary>Wraps the filled tensors, in the order of <see cref="Buffers"/>, first dimension = rows per image × images.</summary>
    TViews Assemble(IReadOnlyList<torch.Tensor> tensors);
}

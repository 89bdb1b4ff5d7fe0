using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Benchmarks;

/// <summary>Copies one of a few prepared images: as little work as a loader can have.</summary>
internal sealed class FixedViews : IAugmenter<TwoViews>
{
    private readonly float[][] prepared;

    public FixedViews(ImageShape shape)
    {
        Buffers = [new BufferSpec("views", torch.float32, 2, [shape.Channels, shape.Height, shape.Width])];
        prepared = [.. Enumerable.Range(0, 64).Select(k => Enumerable.Range(0, shape.Bytes).Select(i => MathF.Sin((0.37f * i) + (k * i * i * 0.001f))).ToArray())];
    }

    public IReadOnlyList<BufferSpec> Buffers { get; }

    public void Render(in Sample sample, BatchMemory memory)
    {
        for (var view = 0; view < 2; view++)
        {
            prepared[(sample.Index + view) % prepared.Length].CopyTo(memory.Row<float>(0, view, sample.Slot));
        }
    }

    public TwoViews Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);
}

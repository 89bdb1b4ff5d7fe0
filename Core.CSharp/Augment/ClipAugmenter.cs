using SslResearch.Core.Data;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>
/// The frames of each clip, which is stored as a <see cref="FrameStrip"/>: one draw for a clip, applied to every frame of it, so that what moves
/// between frames is the film and not the augmentation.
/// </summary>
public sealed class ClipAugmenter : IAugmenter<Clip>, IViewSource
{
    private readonly ViewPipeline pipeline;
    private readonly int frames;

    /// <summary>Clips of <paramref name="frames"/> frames, each by <paramref name="pipeline"/>.</summary>
    /// <param name="pipeline">From one stored frame to one frame of the view.</param>
    /// <param name="frames">T, at least 2.</param>
    /// <exception cref="ArgumentException">Fewer frames.</exception>
    public ClipAugmenter(ViewPipeline pipeline, int frames)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        if (frames < FrameStrip.Fewest)
        {
            throw new ArgumentException($"a clip has at least {FrameStrip.Fewest} frames, received {frames}", nameof(frames));
        }

        (this.pipeline, this.frames) = (pipeline, frames);
        var size = pipeline.Output;
        Buffers = [new BufferSpec("frames", torch.ScalarType.Float32, 1, [frames, size.Channels, size.Height, size.Width])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <summary>What happens to every frame; its source is one frame.</summary>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var (stored, shown) = (pipeline.Source.Bytes, pipeline.OutputFloats);
        if (sample.Pixels.Length != frames * stored)
        {
            throw new ArgumentException($"expected {frames} frames of {pipeline.Source}, received {sample.Pixels.Length} bytes", nameof(sample));
        }

        var parameters = pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0);
        var clip = memory.Row<float>(0, 0, sample.Slot);
        for (var t = 0; t < frames; t++)
        {
            pipeline.Render(sample.Pixels.Slice(t * stored, stored), parameters, clip.Slice(t * shown, shown));
        }
    }

    /// <inheritdoc/>
    public Clip Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0]);
}

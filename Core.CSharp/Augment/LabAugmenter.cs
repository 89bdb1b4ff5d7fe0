using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>One view of each image in CIE Lab: lightness at full size, chroma as the mean over square blocks.</summary>
public sealed class LabAugmenter : IAugmenter<LabView>, IViewSource
{
    private readonly ViewPipeline pipeline;
    private readonly int stride;
    private readonly float[] scaleBias;

    /// <summary>Views by <paramref name="pipeline"/>, whose normalisation is taken back before the conversion.</summary>
    /// <param name="pipeline">Views with three channels, red, green and blue.</param>
    /// <param name="stride">Side of the blocks that one value of chroma stands for, 1 for full size; divides the views' sides.</param>
    /// <exception cref="ArgumentException">Views without three channels, or a stride that does not divide their sides.</exception>
    public LabAugmenter(ViewPipeline pipeline, int stride)
    {
        ArgumentNullException.ThrowIfNull(pipeline);
        var size = pipeline.Output;
        if (size.Channels != 3)
        {
            throw new ArgumentException($"lightness and chroma need red, green and blue; these views are {size}", nameof(pipeline));
        }

        if (stride < 1 || size.Height % stride != 0 || size.Width % stride != 0)
        {
            throw new ArgumentException($"the stride of chroma must divide the views' sides; received {stride} for {size}", nameof(stride));
        }

        this.pipeline = pipeline;
        this.stride = stride;
        scaleBias = [.. Enumerable.Range(0, 3).SelectMany<int, float>(c => [pipeline.Normalisation.Std[c], pipeline.Normalisation.Mean[c]])];
        Buffers =
        [
            new BufferSpec("lightness", torch.ScalarType.Float32, 1, [1, size.Height, size.Width]),
            new BufferSpec("chroma", torch.ScalarType.Float32, 1, [2, size.Height / stride, size.Width / stride]),
        ];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <summary>The view in colour, before its conversion.</summary>
    public IReadOnlyList<ViewPipeline> Views => [pipeline];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        var view = Scratch.Floats(pipeline.OutputFloats);
        pipeline.Render(sample.Pixels, pipeline.Draw(sample.Seed, sample.Epoch, sample.Index, 0), view);
        var pixels = pipeline.Output.Height * pipeline.Output.Width;
        var chroma = memory.Row<float>(1, 0, sample.Slot);
        var full = stride == 1 ? chroma : view;
        LabKernels.Convert(view, pixels, scaleBias, memory.Row<float>(0, 0, sample.Slot), full);
        if (stride > 1)
        {
            Average(full[..pixels], chroma[..(chroma.Length / 2)]);
            Average(full[pixels..(2 * pixels)], chroma[(chroma.Length / 2)..]);
        }
    }

    /// <inheritdoc/>
    public LabView Assemble(IReadOnlyList<torch.Tensor> tensors) => new(tensors[0], tensors[1]);

    private void Average(ReadOnlySpan<float> source, Span<float> target)
    {
        var width = pipeline.Output.Width;
        var columns = width / stride;
        var part = 1f / (stride * stride);
        for (var i = 0; i < target.Length; i++)
        {
            var (row, column) = Math.DivRem(i, columns);
            var first = (row * stride * width) + (column * stride);
            var sum = 0f;
            for (var y = 0; y < stride; y++)
            {
                foreach (var value in source.Slice(first + (y * width), stride))
                {
                    sum += value;
                }
            }

            target[i] = sum * part;
        }
    }
}

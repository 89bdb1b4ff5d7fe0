using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Augment;

/// <summary>Any crops, and a mask for each of the two large ones: masks are drawn apart from the crops, which stay what they are without.</summary>
public sealed class MaskedCropsAugmenter : IAugmenter<MaskedCrops>, IViewSource
{
    private readonly IAugmenter<MultiCrop> crops;
    private readonly CropMask mask;
    private readonly int buffer; // of the masks, the last one

    /// <param name="crops">Renders the crops.</param>
    /// <param name="options">Which patches are hidden.</param>
    /// <exception cref="ArgumentException">Patches that do not divide the large crops, or an option out of its range.</exception>
    public MaskedCropsAugmenter(IAugmenter<MultiCrop> crops, CropMaskOptions options)
    {
        ArgumentNullException.ThrowIfNull(crops);
        ArgumentNullException.ThrowIfNull(options);
        var globals = crops.Buffers[0];
        var (height, width) = (globals.RowShape[1], globals.RowShape[2]); // (C, H, W)
        if (options.Patch < 1 || height % options.Patch != 0 || width % options.Patch != 0)
        {
            throw new ArgumentException($"patches of {options.Patch} pixels do not divide large crops of {height}x{width}", nameof(options));
        }

        this.crops = crops;
        mask = new CropMask((int)height / options.Patch, (int)width / options.Patch, options);
        buffer = crops.Buffers.Count;
        Buffers = [.. crops.Buffers, new BufferSpec("masks", torch.ScalarType.Float32, globals.RowsPerImage, [mask.Patches])];
    }

    /// <inheritdoc/>
    public IReadOnlyList<BufferSpec> Buffers { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ViewPipeline> Views => crops is IViewSource source ? source.Views : [];

    /// <inheritdoc/>
    public void Render(in Sample sample, BatchMemory memory)
    {
        crops.Render(sample, memory);
        for (var v = 0; v < Buffers[buffer].RowsPerImage; v++)
        {
            mask.Draw(sample.Seed, sample.Epoch, sample.Index, v, memory.Row<float>(buffer, v, sample.Slot));
        }
    }

    /// <inheritdoc/>
    public MaskedCrops Assemble(IReadOnlyList<torch.Tensor> tensors)
    {
        var whole = crops.Assemble(tensors);
        return new MaskedCrops(whole.Globals, whole.Locals, tensors[buffer], mask.Most);
    }
}

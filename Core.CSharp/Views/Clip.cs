using TorchSharp;

namespace SslResearch.Core.Views;

/// <summary>A short film instead of an image: T frames of each clip, in order.</summary>
/// <param name="frames">(N, T, C, H, W) float32, normalised; T at least 2.</param>
public sealed class Clip(torch.Tensor frames) : IViews
{
    /// <summary>(N, T, C, H, W) float32.</summary>
    public torch.Tensor Frames { get; } = frames.shape is [_, >= 2, _, _, _]
        ? frames
        : throw new ArgumentException($"expected (N, T, C, H, W) with T ≥ 2, received ({string.Join(", ", frames.shape)})", nameof(frames));

    /// <summary>Number of clips.</summary>
    public long Count => Frames.shape[0];

    /// <summary>T.</summary>
    public int Length => (int)Frames.shape[1];
}

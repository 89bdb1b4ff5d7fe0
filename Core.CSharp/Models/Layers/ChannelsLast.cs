using SslResearch.Core.Runtime;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>Tensors (N, C, H, W) whose channels lie innermost in memory, without gaps.</summary>
internal static class ChannelsLast
{
    public static bool Is(Tensor x)
    {
        var shape = Aten.Sizes(x);
        var strides = Aten.Strides(x);
        return strides[1] == 1 && strides[3] == shape[1] && strides[2] == shape[1] * shape[3] && strides[0] == shape[1] * shape[2] * shape[3];
    }

    /// <summary>The tensor itself where it is one, else a copy.</summary>
    public static Tensor Of(Tensor x) => Is(x) ? x : x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2);

    /// <summary>(N, C, H, W) float32 on the CPU, not cleared.</summary>
    public static Tensor Empty(int images, int channels, int height, int width) => empty(images, height, width, channels).permute(0, 3, 1, 2);
}

using SslResearch.Core.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Benchmarks;

/// <summary>Forward and backward pass of a vision transformer over all patches of its images, or over a random quarter of them as MAE's encoder has it.</summary>
internal static class MaskedSide
{
    private const ulong Seed = 1;

    /// <param name="model">tiny or small (DeiT's sizes).</param>
    /// <param name="size">Side of the images: 32 (patches of 4) or 224 (patches of 16).</param>
    /// <param name="visible">Part of the patches.</param>
    /// <param name="seconds">Time to measure.</param>
    public static Measurement Encoder(string model, int size, double visible, double seconds)
    {
        var (width, heads) = model switch
        {
            "tiny" => (192, 3),
            "small" => (384, 6),
            _ => throw new ArgumentException($"No such size of transformer: {model}."),
        };
        var (patch, batch) = size == 32 ? (4, 64) : (16, 16);
        using var encoder = new VisionTransformer(
            new VitOptions((size, size), patch, width, 12, heads, 4, 0, PositionEncoding.SinCos, TokenPool.Mean, null, 0, true, 1e-6, 3));
        SeededInitialisation.Apply(encoder, Seed, "encoder");
        var patches = size / patch * (size / patch);
        var kept = (int)Math.Round(patches * visible);
        using var generator = manual_seed((long)Seed);
        using var images = randn(batch, 3, size, size);
        using var order = rand(batch, patches).argsort(1).narrow(1, 0, kept).contiguous(); // (N, V)
        using var rows = order.add(arange(batch, dtype: ScalarType.Int64).mul(patches).unsqueeze(1)).flatten();
        return Stopwatches.Measure(
            () =>
            {
                using var scope = NewDisposeScope();
                var tokens = encoder.Embed(images); // (N, P, d)
                var seen = kept == patches ? tokens : tokens.flatten(0, 1).index_select(0, rows).view(batch, kept, width);
                encoder.Norm(encoder.Blocks(encoder.Sequence(seen))).mean().backward();
            },
            "img/s",
            batch,
            seconds);
    }
}

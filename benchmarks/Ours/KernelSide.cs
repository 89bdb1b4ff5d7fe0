using System.Diagnostics;
using SslResearch.Core.Losses;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Benchmarks;

/// <summary>Forward and backward pass of single operations at the sizes of the CPU-scale presets: by our kernels, or as torch has them.</summary>
internal static class KernelSide
{
    public const string Ours = "ours";

    private static readonly Dictionary<string, (string Title, Func<bool, (Func<Tensor> Forward, Tensor Gradient)> Make)> All = new()
    {
        ["linear"] = ("Linear layer, 1184 rows, 64 to 256", ours => Linear(ours, 1184, 64, 256)),
        ["linear-wide"] = ("Linear layer, 4096 rows, 384 to 1536", ours => Linear(ours, 4096, 384, 1536)),
        ["attention"] = ("Attention, 32 sequences of 37 tokens, 2 heads of 32", ours => Attention(ours, 32, 37, 2, 32)),
        ["queue"] = ("Contrast of 256 queries with a queue of 4096, width 128", ours => Contrast(ours, 256, 4096, 128)),
        ["colours"] = ("Cross entropy of 9216 pixels with 5 of 261 colours", ours => Colours(ours, 9216, 261, 5)),
        ["convolution-12"] = ("Convolution 3×3, 512 images of 12×12, 32 channels", ours => Convolve(ours, 12, 32)),
        ["convolution-6"] = ("Convolution 3×3, 512 images of 6×6, 64 channels", ours => Convolve(ours, 6, 64)),
        ["convolution-3"] = ("Convolution 3×3, 512 images of 3×3, 128 channels", ours => Convolve(ours, 3, 128)),
    };

    public static IEnumerable<(string Name, string Title)> Names => All.Select(entry => (entry.Key, entry.Value.Title));

    /// <summary>Passes a second.</summary>
    public static Measurement Run(string name, bool ours, double seconds)
    {
        const int times = 20;
        using var scope = NewDisposeScope();
        var (forward, gradient) = All[name].Make(ours);
        var rates = new List<double>();
        var clock = new Stopwatch();
        for (var round = -3; clock.Elapsed.TotalSeconds < seconds || rates.Count < 5; round++)
        {
            if (round == 0)
            {
                clock.Start();
            }

            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < times; i++)
            {
                using var pass = NewDisposeScope();
                forward().backward([gradient]);
            }

            if (round >= 0)
            {
                rates.Add(times / Stopwatch.GetElapsedTime(start).TotalSeconds);
            }
        }

        return Measurement.Of("passes/s", rates);
    }

    private static (Func<Tensor> Forward, Tensor Gradient) Linear(bool ours, long rows, long inputs, long outputs)
    {
        var (x, weight, bias) = (Leaf(rows, inputs), Leaf(outputs, inputs), Leaf(outputs));
        return (() => ours ? MatrixProduct.Linear(x, weight, bias) : nn.functional.linear(x, weight, bias), randn(rows, outputs));
    }

    private static (Func<Tensor> Forward, Tensor Gradient) Attention(bool ours, long n, long tokens, int heads, long depth)
    {
        var qkv = Leaf(n, tokens, 3 * heads * depth);
        Tensor Torch()
        {
            var parts = qkv.view(n, tokens, 3, heads, depth).permute(2, 0, 3, 1, 4).unbind(0);
            return nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2]).transpose(1, 2).flatten(2);
        }

        return (() => ours ? PackedAttention.Apply(qkv, heads, false) : Torch(), randn(n, tokens, heads * depth));
    }

    private static (Func<Tensor> Forward, Tensor Gradient) Contrast(bool ours, long rows, long length, long width)
    {
        const double temperature = 0.1;
        var (queries, keys, queue) = (Leaf(rows, width), Unit(randn(rows, width)), Unit(randn(length, width)));
        var labels = zeros(rows, ScalarType.Int64);
        Tensor Torch()
        {
            var q = Unit(queries);
            var logits = cat([q.mul(keys).sum(1, keepdim: true), q.matmul(queue.t())], 1);
            return nn.functional.cross_entropy(logits.div_(temperature), labels);
        }

        return (() => ours ? InfoNce.Queue(queries, keys, queue, temperature) : Torch(), tensor(1f));
    }

    private static (Func<Tensor> Forward, Tensor Gradient) Colours(bool ours, long rows, long count, long neighbours)
    {
        var (logits, bins) = (Leaf(rows, count), randint(count, [rows, neighbours], ScalarType.Int64));
        var (shares, rarity) = (nn.functional.softmax(randn(rows, neighbours), 1), rand(count));
        Tensor Torch()
        {
            var entropy = nn.functional.log_softmax(logits, 1).gather(1, bins).mul(shares).sum(1).neg();
            var weight = rarity.index_select(0, bins.select(1, 0));
            return entropy.mul(weight).sum().div(weight.sum());
        }

        return (() => ours ? ColourCrossEntropy.Loss(logits, bins, shares, rarity) : Torch(), tensor(1f));
    }

    private static (Func<Tensor> Forward, Tensor Gradient) Convolve(bool ours, long size, long channels)
    {
        var (x, weight) = (Innermost(512, size, channels), Innermost(channels, 3, channels));
        return (
            () => ours ? Convolution.Apply(x, weight, 1, 1) : nn.functional.conv2d(x, weight, padding: [1, 1]),
            randn(512, size, size, channels).permute(0, 3, 1, 2));
    }

    private static Tensor Unit(Tensor x) => nn.functional.normalize(x, 2, 1);

    private static Tensor Leaf(params long[] shape) => randn(shape).requires_grad_();

    /// <summary>(n, channels, size, size), channels innermost.</summary>
    private static Tensor Innermost(long n, long size, long channels) => randn(n, size, size, channels).permute(0, 3, 1, 2).requires_grad_();
}

using System.Runtime.InteropServices;
using SslResearch.Core.Runtime;
using TorchSharp;
using static SslResearch.Core.Runtime.CpuFloats;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Batch normalisation in training mode with the following addition and ReLU as one operation: y = relu(γ·(x−μ)/√(σ²+ε) + β + residual).
/// (Ioffe and Szegedy 2015, algorithm 1.) Three passes over memory forward and two backward less than separate operations take.
/// </summary>
public static unsafe class FusedNorm
{
    // Rows of what is kept for the backward pass.
    private const int Kept = 4;

    /// <summary>True if <see cref="Apply"/> serves this input: float32 on the CPU with channels innermost in memory.</summary>
    /// <param name="x">(N, C, H, W).</param>
    public static bool Serves(Tensor x) =>
        CpuFloats.Holds(x) && x.dim() == 4 && x.size(1) > 1 && ChannelsLast.Is(x);

    /// <summary>Normalises by the batch and updates the running statistics as torch.nn.BatchNorm2d does.</summary>
    /// <param name="x">(N, C, H, W) float32, channels-last, as <see cref="Serves"/> tells.</param>
    /// <param name="residual">Same shape, or null.</param>
    /// <param name="weight">γ, (C) float32.</param>
    /// <param name="bias">β, (C) float32.</param>
    /// <param name="runningMean">(C) float32, changed in place: r ← (1−momentum)·r + momentum·μ.</param>
    /// <param name="runningVariance">(C) float32, likewise with the unbiased variance.</param>
    /// <param name="momentum">Weight of the new batch.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="relu">Whether ReLU follows.</param>
    /// <param name="chunks">Parts of the batch, equal but for one image, that are normalised each by itself; running statistics are updated by each in turn.</param>
    /// <returns>(N, C, H, W) float32, channels-last.</returns>
    /// <exception cref="ArgumentException">Not served, another shape or type, or more chunks than images.</exception>
    public static Tensor Apply(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor runningMean, Tensor runningVariance, double momentum, double epsilon, bool relu, int chunks = 1)
    {
        if (!Serves(x))
        {
            throw new ArgumentException($"expected (N, C, H, W) float32 on the CPU, channels-last; received {x.dtype} ({string.Join(", ", x.shape)})", nameof(x));
        }

        if (residual is not null && !(CpuFloats.Holds(residual) && Aten.Sizes(residual).SequenceEqual(Aten.Sizes(x))))
        {
            throw new ArgumentException($"expected the input's ({string.Join(", ", x.shape)}) float32 on the CPU; received {residual.dtype} ({string.Join(", ", residual.shape)})", nameof(residual));
        }

        RequireChannels(weight, x, nameof(weight));
        RequireChannels(bias, x, nameof(bias));
        RequireChannels(runningMean, x, nameof(runningMean));
        RequireChannels(runningVariance, x, nameof(runningVariance));
        ArgumentOutOfRangeException.ThrowIfLessThan(chunks, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(chunks, x.size(0));
        using var scope = NewDisposeScope();
        Tensor y, statistics;
        using (no_grad())
        {
            (y, statistics) = Forward(x, residual, weight, bias, new Settings(runningMean, runningVariance, momentum, epsilon, relu, chunks));
        }

        return CustomBackward.Attach(
            residual is null ? [x, weight, bias] : [x, weight, bias, residual],
            y,
            relu && residual is not null ? [x, weight, statistics, y] : [x, weight, statistics],
            (gradient, saved, gradients) => Backward(gradient, saved, relu, gradients)).MoveToOuterDisposeScope();
    }

    private static void RequireChannels(Tensor t, Tensor x, string name)
    {
        var sizes = Aten.Sizes(t);
        if (!CpuFloats.Holds(t) || sizes.Length != 1 || sizes[0] != Aten.Sizes(x)[1] || Aten.Strides(t)[0] != 1)
        {
            throw new ArgumentException($"expected ({x.size(1)}) float32 on the CPU, one value a channel; received {t.dtype} ({string.Join(", ", t.shape)})", name);
        }
    }

    private static (Tensor Y, Tensor Statistics) Forward(Tensor x, Tensor? residual, Tensor weight, Tensor bias, in Settings settings)
    {
        var channels = (int)x.size(1);
        var y = empty_like(x);
        var statistics = empty(settings.Chunks, Kept, channels); // mean, 1/deviation, scale, shift
        var gamma = Pointer(weight);
        var beta = Pointer(bias);
        var runningMean = Pointer(settings.RunningMean);
        var runningVariance = Pointer(settings.RunningVariance);
        var scratch = (double*)NativeMemory.Alloc((nuint)(2 * channels), sizeof(double));
        try
        {
            var exactMean = scratch;
            var variance = scratch + channels;
            var addend = residual is null ? null : ChannelsLast.Of(residual);
            for (var chunk = 0; chunk < settings.Chunks; chunk++)
            {
                var (first, rows) = Rows(x, chunk, settings.Chunks);
                var mean = Pointer(statistics) + (Kept * chunk * channels);
                var inverse = mean + channels;
                var scale = inverse + channels;
                var shift = scale + channels;
                NormKernels.Statistics(Pointer(x) + first, rows, channels, exactMean, variance);
                for (var c = 0; c < channels; c++)
                {
                    var deviation = 1 / Math.Sqrt(variance[c] + settings.Epsilon);
                    mean[c] = (float)exactMean[c];
                    inverse[c] = (float)deviation;
                    scale[c] = (float)(gamma[c] * deviation);
                    shift[c] = (float)(beta[c] - (exactMean[c] * gamma[c] * deviation));
                    var unbiased = rows > 1 ? variance[c] * rows / (rows - 1) : variance[c];
                    runningMean[c] = (float)(((1 - settings.Momentum) * runningMean[c]) + (settings.Momentum * exactMean[c]));
                    runningVariance[c] = (float)(((1 - settings.Momentum) * runningVariance[c]) + (settings.Momentum * unbiased));
                }

                NormKernels.Apply(Pointer(x) + first, addend is null ? null : Pointer(addend) + first, Pointer(y) + first, rows, channels, scale, shift, settings.Relu);
            }
        }
        finally
        {
            NativeMemory.Free(scratch);
        }

        return (y, statistics);
    }

    private static void Backward(Tensor gradient, ReadOnlySpan<Tensor> saved, bool relu, Span<Tensor?> gradients)
    {
        var (x, weight, statistics) = (saved[0], saved[1], saved[2]);
        var residual = gradients.Length > 3;
        var channels = (int)x.size(1);
        var chunks = (int)statistics.size(0);
        var g = ChannelsLast.Of(gradient);
        var dx = empty_like(x);
        var dWeight = zeros(channels);
        var dBias = zeros(channels);
        var masked = residual && relu ? empty_like(x) : null;
        var gamma = Pointer(weight);
        var scratch = (double*)NativeMemory.Alloc((nuint)(4 * channels), sizeof(double));
        try
        {
            var sums = scratch;
            var products = scratch + channels;
            var a = (float*)(scratch + (2 * channels));
            var b = a + channels;
            var c = b + channels;
            var dGamma = Pointer(dWeight);
            var dBeta = Pointer(dBias);
            for (var chunk = 0; chunk < chunks; chunk++)
            {
                var (first, rows) = Rows(x, chunk, chunks);
                var mean = Pointer(statistics) + (Kept * chunk * channels);
                var inverse = mean + channels;
                var mask = !relu ? default
                    : masked is null ? new NormKernels.ReluMask { Scale = inverse + channels, Shift = inverse + (2 * channels) }
                    : new NormKernels.ReluMask { Y = Pointer(saved[3]) + first, Masked = Pointer(masked) + first };
                NormKernels.GradientSums(Pointer(g) + first, mask, Pointer(x) + first, rows, channels, mean, sums, products);
                for (var i = 0; i < channels; i++)
                {
                    double deviation = inverse[i];
                    dBeta[i] += (float)sums[i];
                    dGamma[i] += (float)(products[i] * deviation);
                    // dx = γ/σ · (g − mean(g) − x̂·mean(g·x̂)), written as a·g + b·x + c.
                    var slope = gamma[i] * deviation;
                    var along = slope * products[i] / rows * deviation * deviation;
                    a[i] = (float)slope;
                    b[i] = (float)-along;
                    c[i] = (float)((along * mean[i]) - (slope * sums[i] / rows));
                }

                NormKernels.GradientInput(Pointer(g) + first, mask, Pointer(x) + first, Pointer(dx) + first, rows, channels, a, b, c);
            }
        }
        finally
        {
            NativeMemory.Free(scratch);
        }

        (gradients[0], gradients[1], gradients[2]) = (dx, dWeight, dBias);
        if (residual)
        {
            gradients[3] = masked ?? g;
        }
    }

    /// <summary>Offset of a chunk's first element, and its number of positions.</summary>
    private static (long First, int Rows) Rows(Tensor x, int chunk, int chunks)
    {
        var (images, positions) = (x.size(0), x.size(2) * x.size(3));
        var (from, to) = (NormLayer.Start(images, chunk, chunks), NormLayer.Start(images, chunk + 1, chunks));
        return (from * positions * x.size(1), checked((int)((to - from) * positions)));
    }

    private readonly record struct Settings(Tensor RunningMean, Tensor RunningVariance, double Momentum, double Epsilon, bool Relu, int Chunks);
}

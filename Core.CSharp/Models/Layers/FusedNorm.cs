using System.Runtime.InteropServices;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Batch normalisation in training mode with the following addition and ReLU as one operation: y = relu(γ·(x−μ)/√(σ²+ε) + β + residual).
/// (Ioffe and Szegedy 2015, algorithm 1.) Three passes over memory forward and two backward less than separate operations take.
/// </summary>
public static unsafe class FusedNorm
{
    /// <summary>True if <see cref="Apply"/> serves this input: float32 on the CPU with channels innermost in memory.</summary>
    /// <param name="x">(N, C, H, W).</param>
    public static bool Serves(Tensor x) =>
        x.dtype == ScalarType.Float32 && x.device_type == DeviceType.CPU && x.dim() == 4 && x.size(1) > 1 && IsChannelsLast(x);

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
    /// <returns>(N, C, H, W) float32, channels-last.</returns>
    public static Tensor Apply(Tensor x, Tensor? residual, Tensor weight, Tensor bias, Tensor runningMean, Tensor runningVariance, double momentum, double epsilon, bool relu)
    {
        if (!Serves(x))
        {
            throw new ArgumentException($"expected (N, C, H, W) float32 on the CPU, channels-last; received {x.dtype} ({string.Join(", ", x.shape)})", nameof(x));
        }

        using var scope = NewDisposeScope();
        Tensor y, statistics;
        using (no_grad())
        {
            (y, statistics) = Forward(x, residual, weight, bias, new Settings(runningMean, runningVariance, momentum, epsilon, relu));
        }

        return CustomBackward.Attach(
            residual is null ? [x, weight, bias] : [x, weight, bias, residual],
            y,
            relu ? [x, weight, statistics, y] : [x, weight, statistics],
            Backward).MoveToOuterDisposeScope();
    }

    private static bool IsChannelsLast(Tensor x)
    {
        var shape = Aten.Sizes(x);
        var strides = Aten.Strides(x);
        return strides[1] == 1 && strides[3] == shape[1] && strides[2] == shape[1] * shape[3] && strides[0] == shape[1] * shape[2] * shape[3];
    }

    private static Tensor ChannelsLast(Tensor x) => IsChannelsLast(x) ? x : x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2);

    private static float* Data(Tensor t) => (float*)Aten.DataPointer(t);

    private static (Tensor Y, Tensor Statistics) Forward(Tensor x, Tensor? residual, Tensor weight, Tensor bias, in Settings settings)
    {
        var channels = (int)x.size(1);
        var rows = (int)(x.numel() / channels);
        var y = empty_like(x);
        var statistics = empty(2, channels); // mean, 1/deviation
        var mean = Data(statistics);
        var inverse = mean + channels;
        var gamma = Data(weight);
        var beta = Data(bias);
        var runningMean = Data(settings.RunningMean);
        var runningVariance = Data(settings.RunningVariance);
        var scratch = (double*)NativeMemory.Alloc((nuint)(3 * channels), sizeof(double));
        try
        {
            var exactMean = scratch;
            var variance = scratch + channels;
            var scale = (float*)(scratch + (2 * channels));
            var shift = scale + channels;
            NormKernels.Statistics(Data(x), rows, channels, exactMean, variance);
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

            var addend = residual is null ? null : ChannelsLast(residual);
            NormKernels.Apply(Data(x), addend is null ? null : Data(addend), Data(y), rows, channels, scale, shift, settings.Relu);
        }
        finally
        {
            NativeMemory.Free(scratch);
        }

        return (y, statistics);
    }

    private static void Backward(Tensor gradient, ReadOnlySpan<Tensor> saved, Span<Tensor?> gradients)
    {
        var (x, weight, statistics) = (saved[0], saved[1], saved[2]);
        var relu = saved.Length > 3;
        var residual = gradients.Length > 3;
        var channels = (int)x.size(1);
        var rows = (int)(x.numel() / channels);
        var g = ChannelsLast(gradient);
        var dx = empty_like(x);
        var dWeight = empty(channels);
        var dBias = empty(channels);
        var masked = residual && relu ? empty_like(x) : null;
        var mean = Data(statistics);
        var inverse = mean + channels;
        var gamma = Data(weight);
        var y = relu ? Data(saved[3]) : null;
        var scratch = (double*)NativeMemory.Alloc((nuint)(4 * channels), sizeof(double));
        try
        {
            var sums = scratch;
            var products = scratch + channels;
            var a = (float*)(scratch + (2 * channels));
            var b = a + channels;
            var c = b + channels;
            NormKernels.GradientSums(Data(g), y, Data(x), masked is null ? null : Data(masked), rows, channels, mean, sums, products);
            var dGamma = Data(dWeight);
            var dBeta = Data(dBias);
            for (var i = 0; i < channels; i++)
            {
                double deviation = inverse[i];
                dBeta[i] = (float)sums[i];
                dGamma[i] = (float)(products[i] * deviation);
                // dx = γ/σ · (g − mean(g) − x̂·mean(g·x̂)), written as a·g + b·x + c.
                var slope = gamma[i] * deviation;
                var along = slope * products[i] / rows * deviation * deviation;
                a[i] = (float)slope;
                b[i] = (float)-along;
                c[i] = (float)((along * mean[i]) - (slope * sums[i] / rows));
            }

            // The masked gradient, where it was written, saves reading y again.
            NormKernels.GradientInput(masked is null ? Data(g) : Data(masked), masked is null ? y : null, Data(x), Data(dx), rows, channels, a, b, c);
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

    private readonly record struct Settings(Tensor RunningMean, Tensor RunningVariance, double Momentum, double Epsilon, bool Relu);
}

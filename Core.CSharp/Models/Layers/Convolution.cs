using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using SslResearch.Core.Runtime;
using TorchSharp;
using static SslResearch.Core.Runtime.CpuFloats;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Square convolutions without bias by kernels of ours, where these are faster than oneDNN's: on small images, where much of a kernel lies beyond
/// the border (<c>benchmarks/RESULTS.md</c> has the ratios).
/// </summary>
public static unsafe class Convolution
{
    /// <summary>True if <see cref="Apply"/> serves these: float32 on a CPU with 512-bit vectors, channels innermost and in whole vectors, eight images or more.</summary>
    /// <param name="x">(N, in, H, W).</param>
    /// <param name="weight">(out, in, k, k).</param>
    public static bool Serves(Tensor x, Tensor weight) =>
        Vector512.IsHardwareAccelerated && Holds(x) && Holds(weight) && x.dim() == 4 && weight.dim() == 4
        && x.size(0) >= ConvolutionSums.Group && x.size(1) == weight.size(1) && weight.size(2) == weight.size(3)
        && x.size(1) % VectorMath.Lanes == 0 && weight.size(0) % VectorMath.Lanes == 0
        && ChannelsLast.Is(x) && (ChannelsLast.Is(weight) || (weight.size(2) == 1 && weight.size(3) == 1 && weight.is_contiguous()));

    /// <param name="x">(N, in, H, W) float32, channels innermost, as <see cref="Serves"/> tells.</param>
    /// <param name="weight">(out, in, k, k) float32, channels innermost.</param>
    /// <param name="stride">At least 1.</param>
    /// <param name="padding">Zeros around the image, at least 0.</param>
    /// <returns>(N, out, H', W'), channels innermost, with its graph.</returns>
    /// <exception cref="ArgumentException">Not served, or the kernel is larger than the padded image.</exception>
    public static Tensor Apply(Tensor x, Tensor weight, int stride, int padding)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(padding);
        if (!Serves(x, weight) || Math.Min(x.size(2), x.size(3)) + (2 * padding) < weight.size(2))
        {
            throw new ArgumentException(
                $"expected (N, in, H, W) and (out, in, k, k) float32 on the CPU, channels innermost, multiples of {VectorMath.Lanes}, N at least {ConvolutionSums.Group}, the kernel within the padded image; received {x.dtype} ({string.Join(", ", x.shape)}) and ({string.Join(", ", weight.shape)})",
                nameof(x));
        }

        using var scope = NewDisposeScope();
        var shape = Of(x, weight, stride, padding);
        Tensor y;
        using (no_grad())
        {
            y = ChannelsLast.Empty(shape.Images, shape.Outputs, shape.OutHeight, shape.OutWidth);
            var packed = VectorMath.Allocate(shape.Area * shape.Inputs * shape.Outputs);
            var packing = ConvolutionKernels.Packed.Forward(shape, Pointer(weight), packed);
            NativeParallel.For(ref packing, packing.Items);
            var kernel = new ConvolutionKernels.Pass { Shape = shape, Source = Pointer(x), Weight = packed, Target = Pointer(y) };
            NativeParallel.For(ref kernel, shape.Groups);
            NativeMemory.AlignedFree(packed);
        }

        return CustomBackward.Attach([x, weight], y, [x, weight], (gradient, saved, gradients) => Backward(shape, gradient, saved, gradients)).MoveToOuterDisposeScope();
    }

    private static void Backward(in ConvolutionKernels.Shape shape, Tensor gradient, ReadOnlySpan<Tensor> saved, Span<Tensor?> gradients)
    {
        var (x, weight) = (saved[0], saved[1]);
        var g = ChannelsLast.Of(gradient);
        var dw = ChannelsLast.Empty(shape.Outputs, shape.Inputs, shape.Kernel, shape.Kernel);
        var toWeight = new ConvolutionKernels.ToWeight { Shape = shape, X = Pointer(x), Gradient = Pointer(g), Dw = Pointer(dw) };
        NativeParallel.For(ref toWeight, toWeight.Items);
        gradients[1] = dw;
        if (x.requires_grad)
        {
            var dx = ChannelsLast.Empty(shape.Images, shape.Inputs, shape.Height, shape.Width);
            var packed = VectorMath.Allocate(shape.Area * shape.Inputs * shape.Outputs);
            var packing = ConvolutionKernels.Packed.Backward(shape, Pointer(weight), packed);
            NativeParallel.For(ref packing, packing.Items);
            var toInput = new ConvolutionKernels.Pass { Shape = shape, Source = Pointer(g), Weight = packed, Target = Pointer(dx), TowardsInput = true };
            NativeParallel.For(ref toInput, shape.Groups);
            NativeMemory.AlignedFree(packed);
            gradients[0] = dx;
        }
    }

    private static ConvolutionKernels.Shape Of(Tensor x, Tensor weight, int stride, int padding)
    {
        var kernel = (int)weight.size(2);
        return new()
        {
            Images = checked((int)x.size(0)),
            Inputs = (int)x.size(1),
            Height = (int)x.size(2),
            Width = (int)x.size(3),
            Outputs = (int)weight.size(0),
            OutHeight = (((int)x.size(2) + (2 * padding) - kernel) / stride) + 1,
            OutWidth = (((int)x.size(3) + (2 * padding) - kernel) / stride) + 1,
            Kernel = kernel,
            Stride = stride,
            Padding = padding,
        };
    }
}

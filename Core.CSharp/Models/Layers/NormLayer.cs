using SslResearch.Core.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace SslResearch.Core.Models.Layers;

/// <summary>
/// Batch normalisation over the channels of (N, C) or (N, C, H, W), with an optional addition and ReLU after it (Ioffe and Szegedy 2015).
/// Momentum 0.1, epsilon 1e-5; running variance is unbiased, as in PyTorch.
/// </summary>
public sealed class NormLayer : nn.Module<Tensor, Tensor>, IInitialised
{
    private const double Momentum = 0.1;
    private const double Epsilon = 1e-5;

    // Made once: a scalar that is made by each call waits for the garbage collector.
    private static readonly Scalar One = (1).ToScalar();

    private readonly bool relu;
    private int chunks = 1;
    private Parameter? weight;
    private Parameter? bias;
    private Tensor running_mean;
    private Tensor running_var;
    private Tensor num_batches_tracked;

    /// <param name="channels">C.</param>
    /// <param name="relu">Follow with max(0, x).</param>
    /// <param name="affine">False leaves out scale and shift.</param>
    public NormLayer(int channels, bool relu, bool affine = true)
        : base(nameof(NormLayer))
    {
        this.relu = relu;
        using var scope = NewDisposeScope();
        if (affine)
        {
            weight = new Parameter(ones(channels));
            bias = new Parameter(zeros(channels));
            weight.DetachFromDisposeScope();
            bias.DetachFromDisposeScope();
            register_parameter(nameof(weight), weight);
            register_parameter(nameof(bias), bias);
        }

        running_mean = zeros(channels).DetachFromDisposeScope();
        running_var = ones(channels).DetachFromDisposeScope();
        num_batches_tracked = zeros(Array.Empty<long>(), ScalarType.Int64).DetachFromDisposeScope();
        register_buffer(nameof(running_mean), running_mean, true);
        register_buffer(nameof(running_var), running_var, true);
        register_buffer(nameof(num_batches_tracked), num_batches_tracked, true);
    }

    /// <summary>
    /// From here on, every layer of a network normalises a training batch in parts, each by its own statistics, as several devices would; sizes of
    /// parts differ by one image at most, and each part updates the running statistics in turn.
    /// </summary>
    public static void Split(nn.Module network, int chunks)
    {
        foreach (var layer in network.modules().Append(network).OfType<NormLayer>())
        {
            layer.chunks = chunks;
        }
    }

    /// <summary>First image of a part.</summary>
    internal static long Start(long images, int chunk, int chunks) => images * chunk / chunks;

    /// <summary>Same shape as the input; batch statistics in training mode, running ones in evaluation mode.</summary>
    public override Tensor forward(Tensor input) => forward(input, null);

    /// <summary>The same with <paramref name="residual"/>, of the input's shape, added before the ReLU.</summary>
    public Tensor forward(Tensor input, Tensor? residual)
    {
        if (!training)
        {
            return Normalised(input, residual);
        }

        var images = input.size(0);
        if (chunks > 1 && images < 2L * chunks)
        {
            throw new ArgumentException(
                $"A batch of {images} images does not fill {chunks} chunks of at least 2: take a larger batch or fewer splits of the batch norm.", nameof(input));
        }

        num_batches_tracked.add_(One, One);
        if (weight is not null && bias is not null && FusedNorm.Serves(input))
        {
            return FusedNorm.Apply(input, residual, weight, bias, running_mean, running_var, Momentum, Epsilon, relu, chunks);
        }

        if (chunks == 1)
        {
            return Normalised(input, residual);
        }

        using var scope = NewDisposeScope();
        var parts = new Tensor[chunks];
        for (var c = 0; c < chunks; c++)
        {
            var (first, count) = (Start(images, c, chunks), Start(images, c + 1, chunks) - Start(images, c, chunks));
            parts[c] = Normalised(input.narrow(0, first, count), residual?.narrow(0, first, count));
        }

        return cat(parts, 0).MoveToOuterDisposeScope();
    }

    private Tensor Normalised(Tensor input, Tensor? residual)
    {
        var output = nn.functional.batch_norm(input, running_mean, running_var, weight!, bias!, training, Momentum, Epsilon);
        if (residual is not null)
        {
            output.add_(residual);
        }

        return relu ? output.relu_() : output;
    }

    /// <inheritdoc/>
    public InitialValue Initial(string parameter, Tensor value) => new ConstantValue(parameter == nameof(weight) ? 1f : 0f);
}

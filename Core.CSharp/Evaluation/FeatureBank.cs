using TorchSharp;

namespace SslResearch.Core.Evaluation;

/// <summary>Frozen features of one split with their labels.</summary>
public sealed class FeatureBank : IDisposable
{
    /// <param name="features">(N, d) float32 on the CPU; belongs to the bank from here on.</param>
    /// <param name="labels">(N) int64 on the CPU, -1 for none; belongs to the bank from here on.</param>
    /// <exception cref="ArgumentException">Other shapes, types or devices, or a value that is not finite.</exception>
    public FeatureBank(torch.Tensor features, torch.Tensor labels)
    {
        if (features.dim() != 2 || features.shape[0] == 0 || features.dtype != torch.float32 || features.device_type != DeviceType.CPU)
        {
            throw new ArgumentException($"expected (N, d) float32 on the CPU with N ≥ 1, received {Describe(features)}", nameof(features));
        }

        if (labels.dim() != 1 || labels.shape[0] != features.shape[0] || labels.dtype != torch.int64 || labels.device_type != DeviceType.CPU)
        {
            throw new ArgumentException($"expected ({features.shape[0]}) int64 on the CPU, received {Describe(labels)}", nameof(labels));
        }

        using (var finite = features.isfinite())
        using (var all = finite.all())
        {
            if (!all.item<bool>())
            {
                throw new ArgumentException("The features hold values that are not finite: the encoder was never initialised, or its training diverged.", nameof(features));
            }
        }

        Features = features.DetachFromDisposeScope();
        Labels = labels.DetachFromDisposeScope();
    }

    /// <summary>(N, d) float32.</summary>
    public torch.Tensor Features { get; }

    /// <summary>(N) int64.</summary>
    public torch.Tensor Labels { get; }

    /// <summary>N.</summary>
    public long Count => Features.shape[0];

    /// <summary>d.</summary>
    public long Width => Features.shape[1];

    /// <inheritdoc/>
    public void Dispose()
    {
        Features.Dispose();
        Labels.Dispose();
    }

    /// <summary>Labels, checked to be classes.</summary>
    /// <exception cref="ArgumentException">An image without a label.</exception>
    internal long[] Classes(string parameter)
    {
        var labels = Labels.data<long>().ToArray();
        return labels.All(l => l >= 0)
            ? labels
            : throw new ArgumentException("This evaluation needs a label for every image; the set holds images without one (-1).", parameter);
    }

    private static string Describe(torch.Tensor t) => $"({string.Join(", ", t.shape)}) {t.dtype} on {t.device}";
}

using TorchSharp;

namespace SslResearch.Core.Models;

/// <summary>Weights of whole networks.</summary>
public static class WeightCopy
{
    /// <summary>Sets all parameters and buffers of a network to those of another of the same architecture.</summary>
    /// <exception cref="ArgumentException">Another number of tensors, or other names or shapes.</exception>
    public static void Into(torch.nn.Module source, torch.nn.Module target)
    {
        using var frozen = torch.no_grad();
        var (sources, targets) = (All(source), All(target));
        if (sources.Count != targets.Count)
        {
            throw new ArgumentException($"expected {sources.Count} tensors as in the source, received {targets.Count}", nameof(target));
        }

        foreach (var ((name, from), (other, to)) in sources.Zip(targets))
        {
            if (name != other || !from.shape.SequenceEqual(to.shape))
            {
                throw new ArgumentException(
                    $"expected {name} of ({string.Join(", ", from.shape)}), received {other} of ({string.Join(", ", to.shape)})", nameof(target));
            }

            to.copy_(from);
        }
    }

    private static List<(string Name, torch.Tensor Tensor)> All(torch.nn.Module module) =>
        [.. module.named_parameters().Select(p => (p.name, (torch.Tensor)p.parameter)), .. module.named_buffers().Select(b => (b.name, b.buffer))];
}

using TorchSharp;

namespace SslResearch.Core.Models;

/// <summary>Networks in evaluation mode and no gradients, until disposed: then every module is in the mode that it was in.</summary>
public sealed class FrozenPass : IDisposable
{
    private readonly List<(torch.nn.Module Module, bool Training)> before;
    private readonly IDisposable noGradient = torch.no_grad();

    /// <param name="networks">With all that they consist of.</param>
    public FrozenPass(params IEnumerable<torch.nn.Module> networks)
    {
        // Parents come before children, so that setting the modes in this order restores all of them.
        before = [.. networks.SelectMany(n => n.named_modules().Select(m => m.Item2).Prepend(n)).Select(m => (m, m.training))];
        foreach (var (module, _) in before)
        {
            module.eval();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var (module, training) in before)
        {
            module.train(training);
        }

        noGradient.Dispose();
    }
}

using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Networks in evaluation mode, until disposed: then each as it was.</summary>
internal sealed class EvaluationMode : IDisposable
{
    private readonly IReadOnlyList<(torch.nn.Module Module, bool Training)> before;

    public EvaluationMode(params IReadOnlyList<torch.nn.Module> modules)
    {
        before = [.. modules.Select(m => (m, m.training))];
        foreach (var module in modules)
        {
            module.eval();
        }
    }

    public void Dispose()
    {
        foreach (var (module, training) in before)
        {
            module.train(training);
        }
    }
}

using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Initial weights of a whole method.</summary>
public static class MethodInitialisation
{
    /// <summary>Sets all trained networks by <see cref="SeededInitialisation"/>, named with their prefix, and each teacher to its student.</summary>
    /// <param name="method">Freshly built.</param>
    /// <param name="seed">Seed of the run.</param>
    public static void Initialise<TViews>(this ISslMethod<TViews> method, ulong seed)
        where TViews : class, IViews
    {
        foreach (var (prefix, module) in method.Trained)
        {
            SeededInitialisation.Apply(module, seed, prefix);
        }

        using var frozen = torch.no_grad();
        foreach (var teacher in method.Teachers)
        {
            var targets = teacher.Teacher.named_parameters().Select(p => (torch.Tensor)p.parameter).Concat(teacher.Teacher.named_buffers().Select(b => b.buffer));
            var sources = teacher.Student.named_parameters().Select(p => (torch.Tensor)p.parameter).Concat(teacher.Student.named_buffers().Select(b => b.buffer));
            foreach (var (target, source) in targets.Zip(sources))
            {
                target.copy_(source);
            }
        }
    }
}

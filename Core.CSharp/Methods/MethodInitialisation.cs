using SslResearch.Core.Models;
using SslResearch.Core.Views;

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

        foreach (var teacher in method.Teachers)
        {
            WeightCopy.Into(teacher.Student, teacher.Teacher);
        }
    }
}

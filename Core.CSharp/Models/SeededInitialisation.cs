using System.Text;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Models;

/// <summary>Initial weights as a function of (seed, parameter name): neither build order nor torch's generator has a say.</summary>
public static class SeededInitialisation
{
    /// <summary>
    /// Sets every parameter of a module. Layers that implement <see cref="IInitialised"/> follow their own rule; of any other layer,
    /// matrices and kernels start uniform on ±1/√(fan-in), a bias beside such a weight likewise (PyTorch's default for linear layers and
    /// convolutions), a lone one-dimensional <c>weight</c> at 1 and its <c>bias</c> at 0 (normalisation).
    /// </summary>
    /// <param name="module">Any network; its buffers (running statistics) stay.</param>
    /// <param name="seed">Seed of the run.</param>
    /// <param name="prefix">Put before each name, so that two networks of one method do not share numbers; for example <c>encoder</c>.</param>
    public static void Apply(torch.nn.Module module, ulong seed, string prefix = "")
    {
        var planned = new List<(torch.Tensor Parameter, string Name, InitialValue Rule, float[] Values)>();
        foreach (var (path, layer) in module.named_modules().Prepend((string.Empty, module)).DistinctBy(m => m.Item2, ReferenceEqualityComparer.Instance))
        {
            foreach (var (name, parameter) in layer.named_parameters(false))
            {
                var rule = layer is IInitialised own ? own.Initial(name, parameter) : Default(layer, name, parameter);
                planned.Add((parameter, Join(prefix, Join(path, name)), rule, new float[parameter.numel()]));
            }
        }

        Parallel.ForEach(planned.OrderByDescending(p => p.Values.Length), p =>
        {
            var random = Position(seed, p.Name);
            p.Rule.Fill(p.Values, ref random);
        });

        using var frozen = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        foreach (var (parameter, _, _, values) in planned)
        {
            parameter.copy_(torch.from_array(values).reshape(parameter.shape));
        }
    }

    /// <summary>The generator of one parameter: the 64-bit FNV-1a hash of its name is the position.</summary>
    private static Philox Position(ulong seed, string name)
    {
        var hash = 0xcbf29ce484222325UL;
        foreach (var b in Encoding.UTF8.GetBytes(name))
        {
            hash = unchecked((hash ^ b) * 0x100000001b3UL);
        }

        return new Philox(seed, RandomPurpose.Weights, (uint)(hash >> 32), (uint)hash);
    }

    private static InitialValue Default(torch.nn.Module layer, string name, torch.Tensor parameter)
    {
        var weight = parameter.dim() >= 2
            ? parameter
            : layer.named_parameters(false).Where(p => p.name.EndsWith("weight", StringComparison.Ordinal)).Select(p => (torch.Tensor)p.parameter).FirstOrDefault();
        return weight is not null && weight.dim() >= 2
            ? new UniformValue(1 / Math.Sqrt((double)weight.numel() / weight.shape[0]))
            : new ConstantValue(name.EndsWith("weight", StringComparison.Ordinal) ? 1f : 0f);
    }

    private static string Join(string path, string name) => path.Length == 0 ? name : $"{path}.{name}";
}

using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// All trained parameters as views of one flat buffer, and their gradients as views of another of the same order.
/// Each parameter keeps its shape and strides, so a channels-last model stays one. Segments start on 64 bytes; the padding between them is and stays 0.
/// Frozen parameters (requires_grad = false) are left where they are.
/// </summary>
public sealed class FlatParameters : IDisposable
{
    /// <summary>Elements that segments are aligned to: 64 bytes.</summary>
    public const int Alignment = 16;

    private readonly torch.Tensor[] parameters;
    private readonly torch.Tensor[] gradientViews;
    private readonly Dictionary<IntPtr, int> byAddress = [];

    private FlatParameters(torch.Tensor values, torch.Tensor gradients, FlatSegment[] segments, torch.Tensor[] parameters)
    {
        Values = values;
        Gradients = gradients;
        Segments = segments;
        this.parameters = parameters;
        gradientViews = new torch.Tensor[segments.Length];
        using var noGrad = torch.no_grad();
        for (var i = 0; i < segments.Length; i++)
        {
            Adopt(parameters[i], values, segments[i]);
            gradientViews[i] = View(gradients, segments[i]).DetachFromDisposeScope();
            parameters[i].grad = gradientViews[i];
            byAddress[Aten.DataPointer(parameters[i])] = i;
        }
    }

    /// <summary>(n) float32: every trained parameter.</summary>
    public torch.Tensor Values { get; }

    /// <summary>(n) float32: their gradients, which backward accumulates into.</summary>
    public torch.Tensor Gradients { get; }

    /// <summary>The parameters in the order of the buffers.</summary>
    public IReadOnlyList<FlatSegment> Segments { get; }

    /// <summary>Elements of each buffer, padding included.</summary>
    public long Length => Values.numel();

    /// <summary>Moves the parameters of networks into flat buffers on the device that they are on.</summary>
    /// <param name="modules">Networks with the prefix of their names; a parameter shared among them is taken once, under its first name.</param>
    /// <exception cref="ArgumentException">No parameters, not float32, several devices, or overlapping strides.</exception>
    /// <param name="heldRate">Prefixes whose learning rate stays at the peak.</param>
    public static FlatParameters Create(IEnumerable<(string Prefix, torch.nn.Module Module)> modules, IReadOnlyCollection<string>? heldRate = null)
    {
        ArgumentNullException.ThrowIfNull(modules);
        var segments = new List<FlatSegment>();
        var parameters = new List<torch.Tensor>();
        var seen = new HashSet<IntPtr>();
        var offset = 0L;
        foreach (var (prefix, module) in modules)
        {
            foreach (var (name, parameter) in module.named_parameters())
            {
                if (!parameter.requires_grad || !seen.Add(Aten.DataPointer(parameter)))
                {
                    continue;
                }

                var segment = Segment($"{prefix}.{name}", offset, parameter) with { HasHeldRate = heldRate?.Contains(prefix) == true };
                if (parameters.Count > 0 && parameter.device.ToString() != parameters[0].device.ToString())
                {
                    throw new ArgumentException($"{segment.Name} is on {parameter.device}, {segments[0].Name} on {parameters[0].device}: expected one device", nameof(modules));
                }

                segments.Add(segment);
                parameters.Add(parameter);
                offset = segment.End;
            }
        }

        if (parameters.Count == 0)
        {
            throw new ArgumentException("expected at least one parameter that requires a gradient, received none", nameof(modules));
        }

        var device = parameters[0].device;
        return new FlatParameters(Zeros(offset, device), Zeros(offset, device), [.. segments], [.. parameters]);
    }

    /// <summary>A view of a buffer that is laid out like <see cref="Values"/>, in the shape of one parameter.</summary>
    public static torch.Tensor View(torch.Tensor buffer, FlatSegment segment) =>
        buffer.as_strided(segment.Shape.ToArray(), segment.Strides.ToArray(), segment.Offset);

    /// <summary>The segment that holds a parameter of one of the networks; null for a frozen or foreign one.</summary>
    public FlatSegment? Find(torch.Tensor parameter) =>
        byAddress.TryGetValue(Aten.DataPointer(parameter), out var i) ? Segments[i] : null;

    /// <summary>Checks that backward still accumulates into <see cref="Gradients"/> and that the networks still look at <see cref="Values"/>.</summary>
    /// <exception cref="InvalidOperationException">Something replaced a parameter or a gradient, as Module.zero_grad() and Module.to() do.</exception>
    public void CheckViews()
    {
        var values = Aten.DataPointer(Values);
        var gradients = Aten.DataPointer(Gradients);
        for (var i = 0; i < parameters.Length; i++)
        {
            var bytes = checked((nint)(Segments[i].Offset * sizeof(float)));
            using var gradient = parameters[i].grad;
            if (gradient is null || Aten.DataPointer(gradient) != gradients + bytes || Aten.DataPointer(parameters[i]) != values + bytes)
            {
                throw new InvalidOperationException(
                    $"{Segments[i].Name} has left the flat buffers: a method must call neither Module.zero_grad() nor Module.to() nor set .grad; the trainer zeroes gradients.");
            }
        }
    }

    /// <summary>Gives the gradients back; the parameters keep their values and stay views of one buffer.</summary>
    public void Dispose()
    {
        for (var i = 0; i < parameters.Length; i++)
        {
            parameters[i].grad = null;
            gradientViews[i].Dispose();
        }

        Values.Dispose();
        Gradients.Dispose();
    }

    /// <summary>Count rounded up to <see cref="Alignment"/>.</summary>
    internal static long Padded(long count) => (count + Alignment - 1) / Alignment * Alignment;

    /// <summary>Zeros that outlive any dispose scope.</summary>
    internal static torch.Tensor Zeros(long length, torch.Device device) =>
        torch.zeros(length, torch.float32, device).DetachFromDisposeScope();

    /// <summary>Copies a parameter into its place and makes it a view of that place.</summary>
    internal static void Adopt(torch.Tensor parameter, torch.Tensor buffer, FlatSegment segment)
    {
        using var view = View(buffer, segment);
        view.copy_(parameter);
        parameter.set_(view);
    }

    private static FlatSegment Segment(string name, long offset, torch.Tensor parameter)
    {
        if (parameter.dtype != torch.float32)
        {
            throw new ArgumentException($"{name}: expected float32, received {parameter.dtype}", nameof(parameter));
        }

        var shape = parameter.shape;
        var strides = parameter.stride();
        var count = parameter.numel();
        return IsDense(shape, strides)
            ? new FlatSegment(name, offset, count, shape, strides, shape.Length <= 1)
            : throw new ArgumentException(
                $"{name}: strides ({string.Join(", ", strides)}) of shape ({string.Join(", ", shape)}) leave gaps or overlap; expected a dense layout", nameof(parameter));
    }

    /// <summary>Whether the strides visit every element of a block without gaps once, in whatever order of dimensions.</summary>
    private static bool IsDense(long[] shape, long[] strides)
    {
        var expected = 1L;
        foreach (var (size, stride) in shape.Zip(strides).Where(d => d.First != 1).OrderBy(d => d.Second).ThenBy(d => d.First))
        {
            if (stride != expected)
            {
                return false;
            }

            expected *= size;
        }

        return true;
    }
}

using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// Gradient clipping, weight decay, the optimiser's update, every teacher's moving average and the zeroing of gradients in one pass over flat buffers.
/// On the CPU the pass is our own multi-threaded SIMD code and its result does not depend on the number of threads;
/// elsewhere it is a handful of torch operations on the flat tensors.
/// A parameter without a gradient in a step counts as one with gradient 0 (torch would skip it: no decay, no momentum).
/// </summary>
public sealed class FusedOptimiser : IDisposable
{
    private readonly OptimiserOptions options;
    private readonly double? clipNorm;
    private readonly IFlatUpdate update;
    private readonly List<(string Name, torch.Tensor Values)> state = [];

    /// <summary>Makes the optimiser with zero state.</summary>
    /// <param name="parameters">What is trained.</param>
    /// <param name="teachers">What follows it; made from the same parameters.</param>
    /// <param name="options">The update rule.</param>
    /// <param name="clipNorm">Largest norm of the whole gradient; null for no clipping.</param>
    public FusedOptimiser(FlatParameters parameters, IReadOnlyList<FlatTeacher> teachers, OptimiserOptions options, double? clipNorm)
        : this(parameters, teachers, options, clipNorm, parameters?.Values.device_type != DeviceType.CPU)
    {
    }

    internal FusedOptimiser(FlatParameters parameters, IReadOnlyList<FlatTeacher> teachers, OptimiserOptions options, double? clipNorm, bool byTensors)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(teachers);
        if (clipNorm is <= 0)
        {
            throw new ArgumentOutOfRangeException(nameof(clipNorm), clipNorm, "expected a positive norm, or null for no clipping");
        }

        this.options = options;
        this.clipNorm = clipNorm;
        string[] names = options switch
        {
            SgdOptions or LarsOptions => ["momentum"],
            AdamWOptions or AdamOptions => ["mean", "variance"],
            _ => throw new ArgumentException($"no update rule for {options?.GetType().Name ?? "null"}", nameof(options)),
        };
        foreach (var name in names)
        {
            state.Add((name, FlatParameters.Zeros(parameters.Length, parameters.Values.device)));
        }

        var tensors = state.Select(s => s.Values).ToArray();
        update = byTensors ? new TensorUpdate(parameters, teachers, tensors, options) : new CpuUpdate(parameters, teachers, tensors, options);
    }

    /// <summary>The optimiser's long-lived tensors, laid out like <see cref="FlatParameters.Values"/>.</summary>
    public IReadOnlyList<(string Name, torch.Tensor Values)> State => state;

    /// <summary>Updates done; part of the state (Adam corrects its bias by it).</summary>
    public long Steps { get; set; }

    /// <summary>One update; gradients are zero afterwards.</summary>
    /// <param name="rate">Learning rate η of this step.</param>
    /// <param name="momenta">m of each teacher at this step, in the order of the teachers.</param>
    /// <param name="heldRate">Learning rate of segments that hold theirs; null for <paramref name="rate"/>.</param>
    public void Step(double rate, ReadOnlySpan<double> momenta, double? heldRate = null)
    {
        Steps++;
        using var noGrad = torch.no_grad();
        update.Run(new UpdateStep(rate, heldRate ?? rate, Steps, clipNorm), momenta);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        update.Dispose();
        state.ForEach(s => s.Values.Dispose());
    }

    /// <inheritdoc/>
    public override string ToString() => options.ToString();
}

/// <param name="Rate">Learning rate.</param>
/// <param name="HeldRate">Learning rate of segments that hold theirs.</param>
/// <param name="Number">Updates including this one.</param>
/// <param name="ClipNorm">Largest norm of the gradient, if any.</param>
internal readonly record struct UpdateStep(double Rate, double HeldRate, long Number, double? ClipNorm)
{
    public double RateOf(FlatSegment segment) => segment.HasHeldRate ? HeldRate : Rate;
}

/// <summary>An executor of updates.</summary>
internal interface IFlatUpdate : IDisposable
{
    void Run(in UpdateStep step, ReadOnlySpan<double> momenta);
}

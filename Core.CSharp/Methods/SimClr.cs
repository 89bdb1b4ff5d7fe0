using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="SimClr"/>.</summary>
/// <param name="Temperature">τ of NT-Xent.</param>
/// <param name="Projector">What follows the encoder.</param>
public sealed record SimClrOptions(double Temperature, ProjectionOptions Projector);

/// <summary>
/// SimCLR (Chen et al. 2020): both views through one encoder and projector in one pass (so batch statistics are shared), then
/// <see cref="NtXent"/>.
/// </summary>
public sealed class SimClr : ISslMethod<TwoViews>
{
    private readonly double temperature;
    private readonly ProjectionHead? projector;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Temperature and projector.</param>
    /// <exception cref="ArgumentException">The temperature is not positive, or the projector impossible.</exception>
    public SimClr(Backbone encoder, SimClrOptions options)
    {
        if (!(options.Temperature > 0) || !double.IsFinite(options.Temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {options.Temperature}.", nameof(options));
        }

        Encoder = encoder;
        temperature = options.Temperature;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        Trained = projector is null ? [("encoder", encoder)] : [("encoder", encoder), ("projector", projector)];
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <inheritdoc/>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => projector;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <inheritdoc/>
    public LossLevels Levels(int batchSize) => new(NtXent.Chance(batchSize), NtXent.Chance(batchSize));

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        var h = Encoder.call(views.Both); // (2N, d)
        var z = projector is null ? h : projector.call(h); // (2N, p)
        return new StepOutput(NtXent.Loss(z, temperature), z.detach());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        projector?.Dispose();
        Encoder.Dispose();
    }
}

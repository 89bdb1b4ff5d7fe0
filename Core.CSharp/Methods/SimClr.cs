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
public sealed class SimClr : JointEmbedding<TwoViews>
{
    private readonly double temperature;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Temperature and projector.</param>
    /// <exception cref="ArgumentException">The temperature is not positive, or the projector impossible.</exception>
    public SimClr(Backbone encoder, SimClrOptions options)
        : base(encoder, options.Projector)
    {
        if (!(options.Temperature > 0) || !double.IsFinite(options.Temperature))
        {
            throw new ArgumentException($"The temperature must be positive; received {options.Temperature}.", nameof(options));
        }

        temperature = options.Temperature;
    }

    /// <inheritdoc/>
    public override LossLevels Levels(int batchSize) => new(NtXent.Chance(batchSize), NtXent.Chance(batchSize));

    /// <inheritdoc/>
    public override StepOutput Forward(TwoViews views, in StepContext context)
    {
        var z = Project(views.Both); // (2N, p)
        return new StepOutput(NtXent.Loss(z, temperature), z.detach());
    }
}

using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="BarlowTwins"/>.</summary>
/// <param name="Lambda">λ: weight of the terms off the diagonal, 0 or above.</param>
/// <param name="Scale">Factor of the whole loss, positive.</param>
/// <param name="Deviation">How dimensions are standardised.</param>
/// <param name="Projector">What follows the encoder.</param>
public sealed record BarlowTwinsOptions(double Lambda, double Scale, BarlowDeviation Deviation, ProjectionOptions Projector);

/// <summary>
/// Barlow Twins (Zbontar et al. 2021): the cross-correlation of two views' embedding dimensions is drawn to the identity, by
/// <see cref="BarlowTwinsLoss"/>. Each view is a batch of its own (own batch statistics), as in the authors' code.
/// </summary>
public sealed class BarlowTwins : ISslMethod<TwoViews>
{
    private readonly BarlowTwinsOptions options;
    private readonly ProjectionHead? projector;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Projector and loss.</param>
    /// <exception cref="ArgumentException">λ is negative, the scale not positive, or the projector impossible.</exception>
    public BarlowTwins(Backbone encoder, BarlowTwinsOptions options)
    {
        if (!(options.Lambda >= 0) || !double.IsFinite(options.Lambda) || !(options.Scale > 0) || !double.IsFinite(options.Scale))
        {
            throw new ArgumentException($"λ is 0 or above and the scale positive; received λ {options.Lambda}, scale {options.Scale}.", nameof(options));
        }

        this.options = options;
        Encoder = encoder;
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

    /// <summary>Chance: views that say nothing of each other. Collapsed: nothing correlates.</summary>
    public LossLevels Levels(int batchSize)
    {
        var length = projector?.FeatureCount ?? Encoder.FeatureCount;
        return new(
            BarlowTwinsLoss.Chance(batchSize, length, options.Lambda, options.Scale),
            BarlowTwinsLoss.Collapsed(length, options.Scale));
    }

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var z1 = Project(views.First()); // (N, p)
        var z2 = Project(views.Second());
        var loss = BarlowTwinsLoss.Loss(z1, z2, options.Lambda, options.Scale, options.Deviation);
        var embedding = torch.cat([z1.detach(), z2.detach()], 0); // (2N, p)
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
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

    private torch.Tensor Project(torch.Tensor images)
    {
        var h = Encoder.call(images);
        return projector is null ? h : projector.call(h);
    }
}

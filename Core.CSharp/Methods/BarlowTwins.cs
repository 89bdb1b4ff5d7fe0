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
public sealed class BarlowTwins : JointEmbedding<TwoViews>
{
    private readonly BarlowTwinsOptions options;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Projector and loss.</param>
    /// <exception cref="ArgumentException">λ is negative, the scale not positive, or the projector impossible.</exception>
    public BarlowTwins(Backbone encoder, BarlowTwinsOptions options)
        : base(encoder, options.Projector)
    {
        if (!(options.Lambda >= 0) || !double.IsFinite(options.Lambda) || !(options.Scale > 0) || !double.IsFinite(options.Scale))
        {
            throw new ArgumentException($"λ is 0 or above and the scale positive; received λ {options.Lambda}, scale {options.Scale}.", nameof(options));
        }

        this.options = options;
    }

    /// <summary>Chance: views that say nothing of each other. Collapsed: nothing correlates.</summary>
    public override LossLevels Levels(int batchSize) => new(
        BarlowTwinsLoss.Chance(batchSize, Length, options.Lambda, options.Scale),
        BarlowTwinsLoss.Collapsed(Length, options.Scale));

    /// <inheritdoc/>
    public override StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var z1 = Project(views.First()); // (N, p)
        var z2 = Project(views.Second());
        var loss = BarlowTwinsLoss.Loss(z1, z2, options.Lambda, options.Scale, options.Deviation);
        var embedding = torch.cat([z1.detach(), z2.detach()], 0); // (2N, p)
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
    }
}

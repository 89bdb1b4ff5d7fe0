using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="VicReg"/>.</summary>
/// <param name="Terms">Weights and form of the loss.</param>
/// <param name="Projector">What follows the encoder.</param>
public sealed record VicRegOptions(VicRegTerms Terms, ProjectionOptions Projector);

/// <summary>
/// VICReg (Bardes et al. 2022): views agree, every dimension keeps its variance, dimensions do not covary, by <see cref="VicRegLoss"/>.
/// Each view is a batch of its own (own batch statistics), as in the authors' code.
/// </summary>
public sealed class VicReg : JointEmbedding<TwoViews>
{
    private readonly VicRegOptions options;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Projector and loss.</param>
    /// <exception cref="ArgumentException">A negative weight, or the projector impossible.</exception>
    public VicReg(Backbone encoder, VicRegOptions options)
        : base(encoder, options.Projector)
    {
        VicRegLoss.Check(options.Terms);
        this.options = options;
    }

    /// <summary>
    /// Chance: the best that views which say nothing of each other can reach; none without the variance term, for that is collapse. Collapsed: both
    /// hinges in full.
    /// </summary>
    public override LossLevels Levels(int batchSize) =>
        new(options.Terms.Variance > 0 ? VicRegLoss.Chance(options.Terms) : null, VicRegLoss.Collapsed(options.Terms));

    /// <inheritdoc/>
    public override StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var z1 = Project(views.First()); // (N, p)
        var z2 = Project(views.Second());
        var loss = VicRegLoss.Loss(z1, z2, options.Terms);
        var embedding = torch.cat([z1.detach(), z2.detach()], 0); // (2N, p)
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
    }
}

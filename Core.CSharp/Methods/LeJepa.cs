using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="LeJepa"/>.</summary>
/// <param name="Lambda">λ: SIGReg's share of the loss, 0 … 1.</param>
/// <param name="Slices">Random directions of each step, 1 or more.</param>
/// <param name="Knots">Points of SIGReg's integral, 2 or more.</param>
/// <param name="Limit">End of SIGReg's integral, positive.</param>
/// <param name="Projector">What follows the encoder.</param>
public sealed record LeJepaOptions(double Lambda, int Slices, int Knots, double Limit, ProjectionOptions Projector);

/// <summary>
/// LeJEPA (Balestriero and LeCun 2025) on two views: <see cref="LeJepaLoss"/> with directions drawn anew at each step, a function of seed and step
/// on every device. Both views go through the networks in one pass (batch statistics are shared), as in the authors' code.
/// </summary>
public sealed class LeJepa : JointEmbedding<TwoViews>
{
    private readonly LeJepaOptions options;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Projector and loss.</param>
    /// <exception cref="ArgumentException">λ outside 0 … 1, an impossible integral or projector.</exception>
    public LeJepa(Backbone encoder, LeJepaOptions options)
        : base(encoder, options.Projector)
    {
        if (options.Lambda is not (>= 0 and <= 1) || options.Slices < 1 || options.Knots < 2 || !(options.Limit > 0) || !double.IsFinite(options.Limit))
        {
            throw new ArgumentException(
                $"λ is between 0 and 1, with 1 slice, 2 knots and a positive limit at least; received λ {options.Lambda}, {options.Slices} slices, {options.Knots} knots up to {options.Limit}.",
                nameof(options));
        }

        this.options = options;
    }

    /// <summary>Chance: the best that views which say nothing of each other can reach. Collapsed: the best that equal embeddings can.</summary>
    public override LossLevels Levels(int batchSize) => new(
        LeJepaLoss.Chance(batchSize, options.Lambda, options.Knots, options.Limit),
        LeJepaLoss.Collapsed(batchSize, options.Lambda, options.Knots, options.Limit));

    /// <inheritdoc/>
    public override StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var z = Project(views.Both); // (2N, p)
        var directions = Directions(context, z.shape[1]).to(z.device); // (p, S)
        var loss = LeJepaLoss.Loss(z.view(2, views.Count, -1), 2, directions, options.Lambda, options.Knots, options.Limit);
        var embedding = z.detach();
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
    }

    /// <summary>(length, S) float32: columns uniform on the sphere.</summary>
    private torch.Tensor Directions(in StepContext context, long length)
    {
        var random = new Philox(context.Seed, RandomPurpose.Method, checked((uint)context.Step));
        var draws = new float[length * options.Slices];
        new NormalValue(1).Fill(draws, ref random);
        return torch.nn.functional.normalize(torch.tensor(draws).reshape(length, options.Slices), 2, 0);
    }
}

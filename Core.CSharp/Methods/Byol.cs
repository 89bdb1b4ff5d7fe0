using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>How <see cref="Byol"/> adds up the two directions; gradients differ by the factor 4.</summary>
public enum ByolForm
{
    /// <summary>Σ over both directions of 2 − 2cos: the paper.</summary>
    SquaresSummed,

    /// <summary>Mean over both directions of −cos: lightly's benchmarks.</summary>
    CosinesAveraged,
}

/// <summary>Choices of <see cref="Byol"/>.</summary>
/// <param name="Projector">What follows the encoder, in student and teacher.</param>
/// <param name="PredictorWidth">Hidden width of the predictor, whose output is as long as the projector's; null for none.</param>
/// <param name="StartMomentum">The teacher's momentum at the first step, 0 … 1.</param>
/// <param name="FinalMomentum">What it rises to by half a cosine, 0 … 1.</param>
/// <param name="Form">How the two directions are added up.</param>
public sealed record ByolOptions(ProjectionOptions Projector, int? PredictorWidth, double StartMomentum, double FinalMomentum, ByolForm Form);

/// <summary>
/// BYOL (Grill et al. 2020): a student predicts from one view what a slowly moving teacher says of the other, both ways round.
/// Each view is a batch of its own, in student and teacher (own batch statistics), as in the paper. The teacher runs in training mode
/// without gradients; its batch-norm buffers are its own and are not averaged.
/// </summary>
public sealed class Byol : ISslMethod<TwoViews>
{
    private readonly ByolOptions options;
    private readonly ProjectionHead? projector;
    private readonly ProjectionHead? predictor;
    private readonly Backbone teacher;
    private readonly ProjectionHead? teacherProjector;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Heads, momentum and form of the loss.</param>
    /// <exception cref="ArgumentException">A momentum outside 0 … 1, or an impossible head.</exception>
    public Byol(Backbone encoder, ByolOptions options)
    {
        if (options.StartMomentum is not (>= 0 and <= 1) || options.FinalMomentum is not (>= 0 and <= 1))
        {
            throw new ArgumentException($"The momentum is between 0 and 1; received {options.StartMomentum} to {options.FinalMomentum}.", nameof(options));
        }

        this.options = options;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        predictor = Predictors.Create(projector?.FeatureCount ?? encoder.FeatureCount, options.PredictorWidth);
        teacher = encoder.Twin();
        teacherProjector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        List<(string, torch.nn.Module)> trained = [("encoder", encoder)];
        List<MovingAverage> teachers = [new("teacher.encoder", encoder, teacher, Momentum)];
        if (projector is not null && teacherProjector is not null)
        {
            trained.Add(("projector", projector));
            teachers.Add(new("teacher.projector", projector, teacherProjector, Momentum));
        }

        if (predictor is not null)
        {
            trained.Add(("predictor", predictor));
        }

        Trained = trained;
        Teachers = teachers;
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <inheritdoc/>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => projector;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>Chance is that of orthogonal vectors; equal embeddings are the best value of the loss, so it tells nothing of collapse.</summary>
    public LossLevels Levels(int batchSize) => options.Form == ByolForm.SquaresSummed ? new(4, 0) : new(0, -1);

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var (x1, x2) = (views.First(), views.Second()); // (N, C, H, W)
        torch.Tensor t1, t2;
        using (torch.no_grad())
        {
            t1 = Project(teacher, teacherProjector, x1); // (N, p)
            t2 = Project(teacher, teacherProjector, x2);
        }

        var z1 = Project(Encoder, projector, x1); // (N, p)
        var z2 = Project(Encoder, projector, x2);
        var p1 = predictor is null ? z1 : predictor.call(z1);
        var p2 = predictor is null ? z2 : predictor.call(z2);
        var loss = options.Form == ByolForm.SquaresSummed
            ? NegativeCosine.SymmetricSquares(p1, p2, t1, t2)
            : NegativeCosine.Symmetric(p1, p2, t1, t2);
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
        predictor?.Dispose();
        projector?.Dispose();
        teacherProjector?.Dispose();
        teacher.Dispose();
        Encoder.Dispose();
    }

    private static torch.Tensor Project(Backbone encoder, ProjectionHead? head, torch.Tensor images)
    {
        var h = encoder.call(images);
        return head is null ? h : head.call(h);
    }

    private double Momentum(StepContext context) =>
        MovingAverage.Rising(options.StartMomentum, options.FinalMomentum, context.Step, context.TotalSteps);
}

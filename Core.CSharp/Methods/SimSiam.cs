using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="SimSiam"/>.</summary>
/// <param name="Projector">What follows the encoder.</param>
/// <param name="PredictorWidth">Hidden width of the predictor, whose output is as long as the projector's; null for none.</param>
/// <param name="StopGradient">Whether targets are constants.</param>
/// <param name="HoldPredictorRate">Whether the predictor's learning rate stays at its peak.</param>
public sealed record SimSiamOptions(ProjectionOptions Projector, int? PredictorWidth, bool StopGradient, bool HoldPredictorRate);

/// <summary>
/// SimSiam (Chen and He 2021): from each view's projection a predictor guesses the other view's, which is taken as a constant.
/// Each view is a batch of its own (own batch statistics), as in the authors' code.
/// </summary>
public sealed class SimSiam : ISslMethod<TwoViews>
{
    private readonly SimSiamOptions options;
    private readonly ProjectionHead? projector;
    private readonly ProjectionHead? predictor;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Heads and switches.</param>
    /// <exception cref="ArgumentException">An impossible head.</exception>
    public SimSiam(Backbone encoder, SimSiamOptions options)
    {
        this.options = options;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        predictor = Predictors.Create(projector?.FeatureCount ?? encoder.FeatureCount, options.PredictorWidth);
        List<(string, torch.nn.Module)> trained = [("encoder", encoder)];
        if (projector is not null)
        {
            trained.Add(("projector", projector));
        }

        if (predictor is not null)
        {
            trained.Add(("predictor", predictor));
        }

        Trained = trained;
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <inheritdoc/>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => projector;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <summary>The predictor, where its rate is held (section 4.2: it should keep up with the latest representations).</summary>
    public IReadOnlyCollection<string> HeldRate => options.HoldPredictorRate && predictor is not null ? ["predictor"] : [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>Chance is 0, that of orthogonal vectors; −1 is both the collapsed and the best value, so the loss tells nothing of collapse.</summary>
    public LossLevels Levels(int batchSize) => new(0, -1);

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var z1 = Project(views.First()); // (N, p)
        var z2 = Project(views.Second());
        var p1 = predictor is null ? z1 : predictor.call(z1);
        var p2 = predictor is null ? z2 : predictor.call(z2);
        var loss = NegativeCosine.Symmetric(p1, p2, z1, z2, options.StopGradient);
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
        Encoder.Dispose();
    }

    private torch.Tensor Project(torch.Tensor images)
    {
        var h = Encoder.call(images);
        return projector is null ? h : projector.call(h);
    }
}

using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="MocoV3"/>.</summary>
/// <param name="Temperature">τ.</param>
/// <param name="Momentum">m of the key networks at a step, 0 … 1.</param>
/// <param name="Projector">What follows the encoder.</param>
/// <param name="Predictor">What follows the projector for queries only; as wide at its end as the projector.</param>
public sealed record MocoV3Options(
    double Temperature,
    Func<StepContext, double> Momentum,
    ProjectionOptions Projector,
    ProjectionOptions Predictor);

/// <summary>
/// MoCo v3 (Chen, Xie and He 2021): no queue; the predictions for one view have to find the keys of the other among those of the batch, in both directions
/// (<see cref="InfoNce.Batch"/>, summed). Keys come from moving averages of encoder and projector. Each view passes the networks by itself, so
/// batch-norm statistics are those of one view.
/// </summary>
public sealed class MocoV3 : ISslMethod<TwoViews>
{
    private readonly double temperature;
    private readonly ProjectionHead? projector;
    private readonly ProjectionHead? predictor;
    private readonly Backbone keyEncoder;
    private readonly ProjectionHead? keyProjector;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">All choices.</param>
    /// <exception cref="ArgumentException">An option out of its range, or a head impossible.</exception>
    public MocoV3(Backbone encoder, MocoV3Options options)
    {
        MethodOptions.Positive(options.Temperature, "temperature");
        temperature = options.Temperature;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        var width = projector?.FeatureCount ?? encoder.FeatureCount;
        predictor = MethodOptions.Predictor(width, options.Predictor);
        keyEncoder = encoder.Twin();
        keyProjector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        List<(string, torch.nn.Module)> trained = [("encoder", encoder)];
        List<MovingAverage> teachers = [new("encoder", encoder, keyEncoder, options.Momentum)];
        if (projector is not null && keyProjector is not null)
        {
            trained.Add(("projector", projector));
            teachers.Add(new("projector", projector, keyProjector, options.Momentum));
        }

        if (predictor is not null)
        {
            trained.Add(("predictor", predictor));
        }

        Trained = trained;
        Teachers = teachers;
    }

    /// <summary>The query encoder.</summary>
    public Backbone Encoder { get; }

    /// <inheritdoc/>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => projector;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <summary>The key networks. Their batch-norm statistics come from their own passes.</summary>
    public IReadOnlyList<MovingAverage> Teachers { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>2 · 2τ · ln N for both: two directions, each scaled by 2τ.</summary>
    public LossLevels Levels(int batchSize)
    {
        var level = 4 * temperature * InfoNce.BatchChance(batchSize);
        return new(level, level);
    }

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var (first, second) = (views.First(), views.Second());
        var (z1, q1) = Query(first);
        var (z2, q2) = Query(second);
        var (k1, k2) = (Key(first), Key(second));
        var loss = InfoNce.Batch(q1, k2, temperature).add(InfoNce.Batch(q2, k1, temperature));
        return new StepOutput(loss.MoveToOuterDisposeScope(), torch.cat([z1.detach(), z2.detach()], 0).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        keyProjector?.Dispose();
        keyEncoder.Dispose();
        predictor?.Dispose();
        projector?.Dispose();
        Encoder.Dispose();
    }

    private (torch.Tensor Z, torch.Tensor Q) Query(torch.Tensor images)
    {
        var z = HeadedPass.Run(Encoder, projector, images);
        return (z, predictor is null ? z : predictor.call(z));
    }

    private torch.Tensor Key(torch.Tensor images)
    {
        using var frozen = torch.no_grad();
        return HeadedPass.Run(keyEncoder, keyProjector, images);
    }
}

using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="NnClr"/>.</summary>
/// <param name="QueueSize">K, projections of earlier steps among which neighbours are looked for.</param>
/// <param name="Temperature">τ.</param>
/// <param name="Projector">What follows the encoder.</param>
/// <param name="Predictor">What follows the projector; as wide at its end as the projector.</param>
public sealed record NnClrOptions(int QueueSize, double Temperature, ProjectionOptions Projector, ProjectionOptions Predictor);

/// <summary>
/// NNCLR (Dwibedi et al. 2021): the positive of an image is not its other view but the vector of a support set that lies nearest to that view, by cosine.
/// The neighbour of one view has to find the prediction for the other among those of the batch (<see cref="InfoNce.Neighbours"/>), in both directions, averaged.
/// The support set is a <see cref="FeatureQueue"/> that takes the projections of the first view once a step, after the update; neighbours are
/// looked for before. Each view passes the networks by itself, so batch-norm statistics are those of one view.
/// </summary>
public sealed class NnClr : ISslMethod<TwoViews>
{
    private readonly double temperature;
    private readonly ProjectionHead? projector;
    private readonly ProjectionHead? predictor;
    private readonly FeatureQueue queue;
    private torch.Tensor? rowsOfStep;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">All choices.</param>
    /// <param name="seed">Seed of the run: the queue's first rows.</param>
    /// <param name="device">Where the queue lies.</param>
    /// <exception cref="ArgumentException">An option out of its range, or a head impossible.</exception>
    public NnClr(Backbone encoder, NnClrOptions options, ulong seed, torch.Device device)
    {
        MethodOptions.Positive(options.Temperature, "temperature");
        MethodOptions.AtLeastOne(options.QueueSize, "queue size");
        temperature = options.Temperature;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        var width = projector?.FeatureCount ?? encoder.FeatureCount;
        predictor = MethodOptions.Predictor(width, options.Predictor);
        queue = FeatureQueue.Random(options.QueueSize, width, seed, device);
        State = queue.State;
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

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; }

    /// <summary>ln N for both.</summary>
    public LossLevels Levels(int batchSize) => new(InfoNce.BatchChance(batchSize), InfoNce.BatchChance(batchSize));

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        rowsOfStep?.Dispose();
        using var scope = torch.NewDisposeScope();
        var n = views.Count;
        var z1 = HeadedPass.Run(Encoder, projector, views.First()); // (N, p)
        var z2 = HeadedPass.Run(Encoder, projector, views.Second()); // (N, p)
        var (p1, p2) = predictor is null ? (z1, z2) : (predictor.call(z1), predictor.call(z2));
        var z = torch.cat([z1.detach(), z2.detach()], 0); // (2N, p)
        var unit = UnitRows.Of(z);
        var neighbours = queue.Nearest(unit); // (2N, p)
        var loss = InfoNce.Neighbours(neighbours.narrow(0, 0, n), p2, temperature)
            .add(InfoNce.Neighbours(neighbours.narrow(0, n, n), p1, temperature))
            .mul(Scalars.Of(0.5));
        rowsOfStep = unit.narrow(0, 0, n).MoveToOuterDisposeScope();
        return new StepOutput(loss.MoveToOuterDisposeScope(), z.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
        if (rowsOfStep is not null)
        {
            queue.Enqueue(rowsOfStep);
            rowsOfStep.Dispose();
            rowsOfStep = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        rowsOfStep?.Dispose();
        queue.Dispose();
        predictor?.Dispose();
        projector?.Dispose();
        Encoder.Dispose();
    }
}

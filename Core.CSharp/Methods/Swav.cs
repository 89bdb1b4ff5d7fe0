using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using SslResearch.Core.Runtime;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Swav"/>.</summary>
/// <param name="Temperature">τ of the predictions.</param>
/// <param name="Epsilon">ε of Sinkhorn.</param>
/// <param name="Iterations">Of Sinkhorn, at least 1.</param>
/// <param name="Projector">What follows the encoder.</param>
/// <param name="Prototypes">K.</param>
/// <param name="FreezePrototypes">Part of the training at whose start prototypes get no gradient, 0 … 1.</param>
/// <param name="QueueSize">Embeddings of earlier images, for each of the two large crops, that take part in Sinkhorn; 0 for none.</param>
/// <param name="QueueStart">Part of the training after which they do, 0 … 1.</param>
public sealed record SwavOptions(
    double Temperature,
    double Epsilon,
    int Iterations,
    ProjectionOptions Projector,
    int Prototypes,
    double FreezePrototypes,
    int QueueSize,
    double QueueStart);

/// <summary>
/// SwAV (Caron et al. 2020): embeddings of length 1 are compared with prototypes; Sinkhorn turns the large crops' scores into codes, and each code is
/// predicted from every other crop of its image (<see cref="SwavLoss"/>). Large crops pass the encoder together, small ones together; one pass of the
/// projector serves all. The queue is filled from the first step on and used once it is full and its start has come.
/// </summary>
public sealed class Swav : ISslMethod<MultiCrop>
{
    private readonly SwavOptions options;
    private readonly ProjectionHead? projector;
    private readonly Prototypes prototypes;
    private readonly torch.Tensor? queue; // (2, Q, p)
    private torch.Tensor? latest; // (2N, p), between the forward pass and the update

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Everything else.</param>
    /// <param name="device">Where the queue lives.</param>
    /// <exception cref="ArgumentException">Impossible options.</exception>
    public Swav(Backbone encoder, SwavOptions options, torch.Device device)
    {
        if (!(options.Temperature > 0) || !(options.Epsilon > 0) || options.Iterations < 1 || options.QueueSize < 0
            || options.FreezePrototypes is not (>= 0 and <= 1) || options.QueueStart is not (>= 0 and <= 1))
        {
            throw new ArgumentException(
                $"SwAV needs positive temperatures, at least one iteration, a queue of 0 or more and fractions between 0 and 1; received {options}.", nameof(options));
        }

        this.options = options;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        var width = projector?.FeatureCount ?? encoder.FeatureCount;
        prototypes = new Prototypes(width, options.Prototypes);
        Trained = projector is null
            ? [("encoder", encoder), ("prototypes", prototypes)]
            : [("encoder", encoder), ("projector", projector), ("prototypes", prototypes)];
        if (options.QueueSize > 0)
        {
            queue = torch.zeros(SwavLoss.CodedCrops, options.QueueSize, width, torch.float32, device).DetachFromDisposeScope();
            State = new Dictionary<string, torch.Tensor> { ["queue"] = queue };
        }
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

    /// <summary>ln K for both: see <see cref="SwavLoss.Chance"/>; a collapsed encoder cannot do better, since codes of equal embeddings are uniform.</summary>
    public LossLevels Levels(int batchSize) => new(SwavLoss.Chance(options.Prototypes), SwavLoss.Chance(options.Prototypes));

    /// <summary>Loss; embedding = z of the large crops before the prototypes (2N, p), of length 1; assignment = their codes (2N, K).</summary>
    public StepOutput Forward(MultiCrop views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var h = CropFeatures.Of(Encoder, views); // (V·N, d)
        var z = UnitRows.Of(projector is null ? h : projector.call(h)); // (V·N, p)
        var scores = prototypes.Scores(z, context.IsWithin(options.FreezePrototypes)); // (V·N, K)
        var coded = SwavLoss.CodedCrops * views.Count;
        var embedding = z.narrow(0, 0, coded).detach(); // (2N, p)
        torch.Tensor? queued;
        using (torch.no_grad())
        {
            queued = Uses(views.Count, context) ? prototypes.call(queue!.flatten(0, 1)) : null; // (2Q, K)
        }

        var codes = SwavLoss.Codes(scores.narrow(0, 0, coded), queued, options.Epsilon, options.Iterations); // (2N, K)
        if (queue is not null)
        {
            latest?.Dispose();
            latest = embedding.alias().DetachFromDisposeScope();
        }

        var loss = SwavLoss.Loss(scores, codes, views.CropCount, options.Temperature);
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope(), codes.MoveToOuterDisposeScope());
    }

    /// <summary>Prototypes back to length 1; the large crops of this step into the queue.</summary>
    public void AfterUpdate(in StepContext context)
    {
        prototypes.Normalise();
        if (queue is null || latest is null)
        {
            return;
        }

        Enqueue(queue, latest, context.Step);
        latest.Dispose();
        latest = null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        latest?.Dispose();
        queue?.Dispose();
        prototypes.Dispose();
        projector?.Dispose();
        Encoder.Dispose();
    }

    /// <summary>Whether the queue takes part: it is full of rows of earlier steps, and its start has come.</summary>
    private bool Uses(long images, in StepContext context) =>
        queue is not null && context.Step * images >= options.QueueSize && !context.IsWithin(options.QueueStart);

    /// <summary>Writes over the oldest rows, round the end where it comes to that: the position is a function of the step.</summary>
    private static void Enqueue(torch.Tensor queue, torch.Tensor latest, long step)
    {
        using var noGrad = torch.no_grad();
        using var scope = torch.NewDisposeScope();
        var size = queue.shape[1];
        var images = latest.shape[0] / SwavLoss.CodedCrops;
        var rows = latest.view(SwavLoss.CodedCrops, images, -1);
        var position = step * images % size;
        for (var from = Math.Max(0, images - size); from < images;)
        {
            var at = (position + from) % size;
            var count = Math.Min(images - from, size - at);
            queue.narrow(1, at, count).copy_(rows.narrow(1, from, count));
            from += count;
        }
    }
}

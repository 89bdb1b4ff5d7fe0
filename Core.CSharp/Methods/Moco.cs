using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Moco"/>.</summary>
/// <param name="QueueSize">K, keys of earlier steps that serve as negatives.</param>
/// <param name="Momentum">m of the key networks, 0 … 1.</param>
/// <param name="Temperature">τ.</param>
/// <param name="Projector">What follows the encoder.</param>
/// <param name="Symmetric">Whether each view is query once and key once; else the first view asks and the second answers.</param>
/// <param name="NormSplits">Chunks of a batch that have batch-norm statistics of their own; 1 is a plain pass.</param>
/// <param name="ShuffleKeys">Whether keys are put into chunks in another order than queries; without effect where there is one chunk.</param>
public sealed record MocoOptions(
    int QueueSize,
    double Momentum,
    double Temperature,
    ProjectionOptions Projector,
    bool Symmetric,
    int NormSplits,
    bool ShuffleKeys);

/// <summary>
/// Momentum contrast (He et al. 2020; with an MLP head and the symmetric loss also Chen et al. 2020b): queries of the trained networks against keys
/// of their moving averages and a <see cref="FeatureQueue"/> of earlier keys. Each view passes the networks by itself, so batch-norm statistics
/// are those of one view; <see cref="MocoOptions.NormSplits"/> and <see cref="MocoOptions.ShuffleKeys"/> do on one device what the paper's section 3.3 does
/// on several. The queue is read by the forward pass and takes the step's keys once, after the update, so no key meets the other view of its own image
/// among the negatives.
/// </summary>
public sealed class Moco : ISslMethod<TwoViews>
{
    // Lane of the generator for the order of the keys.
    private const ushort Shuffle = 2;

    private readonly MocoOptions options;
    private readonly ProjectionHead? projector;
    private readonly Backbone keyEncoder;
    private readonly ProjectionHead? keyProjector;
    private readonly FeatureQueue queue;
    private torch.Tensor? keysOfStep;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">All choices.</param>
    /// <param name="seed">Seed of the run: the queue's first rows.</param>
    /// <param name="device">Where the queue lies.</param>
    /// <exception cref="ArgumentException">An option out of its range, or the projector impossible.</exception>
    public Moco(Backbone encoder, MocoOptions options, ulong seed, torch.Device device)
    {
        MethodOptions.Positive(options.Temperature, "temperature");
        MethodOptions.Fraction(options.Momentum, "momentum");
        MethodOptions.AtLeastOne(options.QueueSize, "queue size");
        MethodOptions.AtLeastOne(options.NormSplits, "number of splits of the batch norm");
        this.options = options;
        Encoder = encoder;
        projector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        keyEncoder = encoder.Twin();
        keyProjector = ProjectionHead.Create(encoder.FeatureCount, options.Projector);
        foreach (var network in new torch.nn.Module?[] { encoder, projector, keyEncoder, keyProjector }.OfType<torch.nn.Module>())
        {
            NormLayer.Split(network, options.NormSplits);
        }

        queue = FeatureQueue.Random(options.QueueSize, projector?.FeatureCount ?? encoder.FeatureCount, seed, device);
        State = queue.State;
        List<(string, torch.nn.Module)> trained = [("encoder", encoder)];
        List<MovingAverage> teachers = [new("encoder", encoder, keyEncoder, _ => options.Momentum)];
        if (projector is not null && keyProjector is not null)
        {
            trained.Add(("projector", projector));
            teachers.Add(new("projector", projector, keyProjector, _ => options.Momentum));
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
    public IReadOnlyDictionary<string, torch.Tensor> State { get; }

    /// <summary>ln(1+K) for both; see <see cref="InfoNce.Chance"/> for what of it is exact.</summary>
    public LossLevels Levels(int batchSize) => new(InfoNce.Chance(options.QueueSize), InfoNce.Chance(options.QueueSize));

    /// <inheritdoc/>
    public StepOutput Forward(TwoViews views, in StepContext context)
    {
        keysOfStep?.Dispose();
        using var scope = torch.NewDisposeScope();
        var (first, second) = (views.First(), views.Second());

        // Keys first: what the backward pass begins with is then still in the cache.
        var keys = Keys(second, context, 1); // (N, p)
        keys = options.Symmetric ? torch.cat([keys, Keys(first, context, 0)], 0) : keys; // or (2N, p)
        var z = HeadedPass.Run(Encoder, projector, first); // (N, p)
        z = options.Symmetric ? torch.cat([z, HeadedPass.Run(Encoder, projector, second)], 0) : z; // or (2N, p)
        var loss = InfoNce.Queue(z, keys, queue.Rows, options.Temperature);
        keysOfStep = keys.MoveToOuterDisposeScope();
        return new StepOutput(loss.MoveToOuterDisposeScope(), z.detach().MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
        if (keysOfStep is not null)
        {
            queue.Enqueue(keysOfStep);
            keysOfStep.Dispose();
            keysOfStep = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        keysOfStep?.Dispose();
        queue.Dispose();
        keyProjector?.Dispose();
        keyEncoder.Dispose();
        projector?.Dispose();
        Encoder.Dispose();
    }

    /// <summary>Unit keys (N, p) in the order of the images, without gradient.</summary>
    private torch.Tensor Keys(torch.Tensor images, in StepContext context, uint view)
    {
        using var scope = torch.NewDisposeScope();
        using var frozen = torch.no_grad();
        if (!options.ShuffleKeys || options.NormSplits == 1)
        {
            return UnitRows.Of(HeadedPass.Run(keyEncoder, keyProjector, images)).MoveToOuterDisposeScope();
        }

        var order = new int[images.shape[0]];
        new Philox(context.Seed, RandomPurpose.Method, checked((uint)context.Step), view, Shuffle).Permutation(order);
        var back = new int[order.Length];
        for (var i = 0; i < order.Length; i++)
        {
            back[order[i]] = i;
        }

        var shuffled = images.index_select(0, torch.tensor(order, device: images.device));
        var keys = HeadedPass.Run(keyEncoder, keyProjector, shuffled);
        return UnitRows.Of(keys.index_select(0, torch.tensor(back, device: images.device))).MoveToOuterDisposeScope();
    }
}

using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>What methods share that have an encoder, perhaps a projector, and nothing else that learns or lasts.</summary>
/// <typeparam name="TViews">The batch type it learns from.</typeparam>
public abstract class JointEmbedding<TViews> : ISslMethod<TViews>
    where TViews : class, IViews
{
    private readonly ProjectionHead? projector;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="projector">What follows it.</param>
    /// <exception cref="ArgumentException">An impossible projector.</exception>
    private protected JointEmbedding(Backbone encoder, ProjectionOptions projector)
    {
        Encoder = encoder;
        this.projector = ProjectionHead.Create(encoder.FeatureCount, projector);
        Trained = this.projector is null ? [("encoder", encoder)] : [("encoder", encoder), ("projector", this.projector)];
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

    /// <summary>p: length of z.</summary>
    private protected int Length => projector?.FeatureCount ?? Encoder.FeatureCount;

    /// <inheritdoc/>
    public abstract LossLevels Levels(int batchSize);

    /// <inheritdoc/>
    public abstract StepOutput Forward(TViews views, in StepContext context);

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        projector?.Dispose();
        Encoder.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>z of a batch of images: (N, C, H, W) to (N, p).</summary>
    private protected torch.Tensor Project(torch.Tensor images)
    {
        var h = Encoder.call(images);
        return projector is null ? h : projector.call(h);
    }
}

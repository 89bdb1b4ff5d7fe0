using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Rotation"/>.</summary>
/// <param name="Hidden">Widths of the classifier's hidden layers; none makes it linear.</param>
/// <param name="HiddenNorm">Whether they are batch-normalised before their ReLU.</param>
public sealed record RotationOptions(IReadOnlyList<int> Hidden, bool HiddenNorm);

/// <summary>
/// Rotation prediction (Gidaris et al. 2018): all four orientations of each view through one encoder in one pass, a classifier says which is
/// which, cross entropy.
/// </summary>
public sealed class Rotation : ISslMethod<RotatedView>
{
    private readonly ProjectionHead classifier;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">The classifier.</param>
    /// <exception cref="ArgumentException">A width below 1.</exception>
    public Rotation(Backbone encoder, RotationOptions options)
    {
        Encoder = encoder;
        classifier = ProjectionHead.Create(
            encoder.FeatureCount, new MlpProjection(options.Hidden, RotatedView.Turns, !options.HiddenNorm, options.HiddenNorm, true, OutputNorm.None))!;
        Trained = [("encoder", encoder), ("classifier", classifier)];
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <summary>None: the classifier's outputs are scores of orientations, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>ln 4 for both: the four orientations are equally frequent.</summary>
    public LossLevels Levels(int batchSize) => new(Math.Log(RotatedView.Turns), Math.Log(RotatedView.Turns));

    /// <inheritdoc/>
    public StepOutput Forward(RotatedView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var h = Encoder.call(views.Images); // (4N, d)
        var scores = classifier.call(h); // (4N, 4)
        var turns = torch.arange(Scalars.Of(RotatedView.Turns), dtype: torch.ScalarType.Int64, device: h.device).repeat_interleave(views.Count); // (4N)
        return new StepOutput(
            torch.nn.functional.cross_entropy(scores, turns).MoveToOuterDisposeScope(), h.detach().MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        classifier.Dispose();
        Encoder.Dispose();
    }
}

using SslResearch.Core.Models;
using SslResearch.Core.Models.Layers;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>The baseline with labels: encoder, linear classifier, cross entropy.</summary>
public sealed class Supervised : ISslMethod<LabelledView>
{
    private readonly int classes;
    private readonly LinearLayer classifier;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="classes">Number of classes, at least 2.</param>
    /// <exception cref="ArgumentException">Fewer than two classes.</exception>
    public Supervised(Backbone encoder, int classes)
    {
        if (classes < 2)
        {
            throw new ArgumentException($"Supervised training needs at least 2 classes; received {classes}.", nameof(classes));
        }

        this.classes = classes;
        Encoder = encoder;
        classifier = new LinearLayer(encoder.FeatureCount, classes, hasBias: true);
        Trained = [("encoder", encoder), ("classifier", classifier)];
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <summary>h (N, d) to scores of the classes (N, classes).</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor> Classifier => classifier;

    /// <summary>None: the classifier's outputs are scores of classes, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>ln C for both: equal features leave only the frequencies of the classes to be learned.</summary>
    public LossLevels Levels(int batchSize) => new(Math.Log(classes), Math.Log(classes));

    /// <inheritdoc/>
    public StepOutput Forward(LabelledView views, in StepContext context)
    {
        var h = Encoder.call(views.Images); // (N, d)
        using var scores = classifier.call(h); // (N, classes)
        return new StepOutput(torch.nn.functional.cross_entropy(scores, views.Labels), h.detach());
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

using TorchSharp;

namespace SslResearch.Core.Evaluation;

/// <summary>What a classifier's scores are worth.</summary>
public static class ClassScores
{
    /// <summary>Part of the images, in percent, whose highest score is that of their label; of equal scores the first counts.</summary>
    /// <param name="scores">(N, classes) as features, with their labels.</param>
    /// <exception cref="ArgumentException">An image without a label.</exception>
    public static double Accuracy(FeatureBank scores)
    {
        ArgumentNullException.ThrowIfNull(scores);
        var labels = scores.Classes(nameof(scores));
        using var scope = torch.NewDisposeScope();
        var best = scores.Features.argmax(1).data<long>().ToArray();
        return 100.0 * best.Zip(labels, (b, l) => b == l).Count(right => right) / labels.Length;
    }
}

using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Jigsaw"/>.</summary>
/// <param name="Permutations">Size of the permutation set, 2 to 9!.</param>
/// <param name="Patch">What follows the encoder for each patch.</param>
/// <param name="Hidden">Widths of the classifier's hidden layers.</param>
/// <param name="HiddenNorm">Whether they are batch-normalised before their ReLU.</param>
public sealed record JigsawOptions(int Permutations, ProjectionOptions Patch, IReadOnlyList<int> Hidden, bool HiddenNorm);

/// <summary>
/// Jigsaw puzzles (Noroozi and Favaro 2016): each of the nine patches of a view goes through the same encoder alone; the vectors are put
/// together in the order of one permutation of a fixed set, drawn for each image at each step, and a classifier says which it was.
/// </summary>
/// <remarks>As no patch sees another one, permuting the vectors is the same as permuting the patches.</remarks>
public sealed class Jigsaw : ISslMethod<PatchGrid>
{
    private readonly IReadOnlyList<int[]> permutations;
    private readonly ProjectionHead? patch;
    private readonly ProjectionHead classifier;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Permutations and heads.</param>
    /// <exception cref="ArgumentException">Fewer than two permutations, more than there are, or a width below 1.</exception>
    public Jigsaw(Backbone encoder, JigsawOptions options)
    {
        if (options.Permutations < 2)
        {
            throw new ArgumentException($"A puzzle needs at least 2 permutations; received {options.Permutations}.", nameof(options));
        }

        permutations = PermutationSet.Create(options.Permutations, PatchGrid.Cells);
        Encoder = encoder;
        patch = ProjectionHead.Create(encoder.FeatureCount, options.Patch);
        classifier = ProjectionHead.Create(
            PatchGrid.Cells * (patch?.FeatureCount ?? encoder.FeatureCount),
            new MlpProjection(options.Hidden, options.Permutations, !options.HiddenNorm, options.HiddenNorm, true, OutputNorm.None))!;
        Trained = patch is null ? [("encoder", encoder), ("classifier", classifier)] : [("encoder", encoder), ("patch", patch), ("classifier", classifier)];
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <summary>None: what follows the encoder serves patches, not images.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>ln P for both: the permutations are equally frequent.</summary>
    public LossLevels Levels(int batchSize) => new(Math.Log(permutations.Count), Math.Log(permutations.Count));

    /// <inheritdoc/>
    public StepOutput Forward(PatchGrid views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var h = Encoder.call(views.Patches); // (9N, d)
        var z = patch is null ? h : patch.call(h); // (9N, k)
        var count = (int)views.Count;
        var (rows, labels) = Draw(count, context);
        var joined = z.index_select(0, torch.tensor(rows).to(z.device)).reshape(count, PatchGrid.Cells * z.shape[1]); // (N, 9k)
        var scores = classifier.call(joined); // (N, P)
        return new StepOutput(
            torch.nn.functional.cross_entropy(scores, torch.tensor(labels).to(z.device)).MoveToOuterDisposeScope(), h.detach().MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        classifier.Dispose();
        patch?.Dispose();
        Encoder.Dispose();
    }

    /// <summary>A permutation for each image, and the row of the batch that lies at each place of its puzzle.</summary>
    private (long[] Rows, long[] Labels) Draw(int count, in StepContext context)
    {
        var (rows, labels) = (new long[count * PatchGrid.Cells], new long[count]);
        for (var i = 0; i < count; i++)
        {
            var random = new Philox(context.Seed, RandomPurpose.Method, checked((uint)context.Step), (uint)i);
            var label = (int)random.NextBelow((uint)permutations.Count);
            labels[i] = label;
            for (var place = 0; place < PatchGrid.Cells; place++)
            {
                rows[(i * PatchGrid.Cells) + place] = ((long)permutations[label][place] * count) + i;
            }
        }

        return (rows, labels);
    }
}

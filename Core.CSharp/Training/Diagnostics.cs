using SslResearch.Core.Methods;
using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Training;

/// <summary>Signs of collapse in embeddings, and what they say about a run.</summary>
public static class Diagnostics
{
    /// <summary>Rows that a report looks at; more are thinned out evenly.</summary>
    public const int LargestSample = 512;

    /// <summary>A run whose last deviation is below this has collapsed: a quarter of what evenly spread embeddings have.</summary>
    public const double CollapsedDeviation = 0.25;

    /// <summary>A run whose embeddings have an effective rank below this fills no more than about one dimension; see <see cref="LeastRank"/>.</summary>
    public const double CollapsedRank = 2;

    /// <summary>Where fewer dimensions can be filled, the way from a rank of 1 to <see cref="CollapsedRank"/> is as much shorter: whole from here on.</summary>
    public const int CollapsedRankFrom = 8;

    /// <summary>The same as a part of the largest rank there could be: embeddings that fill less of their space have collapsed into a few dimensions.</summary>
    public const double CollapsedRankPart = 0.03;

    /// <summary>
    /// A loss that has come this near to its collapsed value, as a part of its distance at the first report, is that of equal embeddings;
    /// for losses that fall when embeddings become equal.
    /// </summary>
    public const double CollapsedLossPart = 0.02;

    /// <summary>
    /// Information of assignments about their images (usage entropy less assignment entropy), as a part of ln K, below which all images are assigned
    /// alike. Trainings of DINO, iBOT and DINOv2 that learn stay above 0.02 from their first step on.
    /// </summary>
    public const double UninformedAssignment = 0.005;

    /// <summary>Entropy of the mean assignment, as a part of ln K, below which all images go to one prototype.</summary>
    public const double OneEntropy = 0.1;

    /// <summary>Reports in a row (of some 200 a training) that must show a collapse before it counts as established.</summary>
    public const int EstablishedReports = 6;

    /// <summary>A loss must fall below chance by this part of it (of 1, where chance is smaller) to count as having left it.</summary>
    public const double ChanceMargin = 0.01;

    private const double RankEpsilon = 1e-5;

    /// <summary>
    /// Mean over dimensions of the standard deviation (population) of l2-normalised rows, times √d: 1 when spread evenly over the sphere,
    /// 0 when all rows are equal (Chen and He 2021, figure 2).
    /// </summary>
    /// <param name="embedding">(M, d) floating point, M ≥ 1.</param>
    public static double Deviation(Tensor embedding)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var rows = UnitRows.Of(Rows(embedding));
        return rows.std(0, unbiased: false).mean().item<double>() * Math.Sqrt(embedding.size(1));
    }

    /// <summary>
    /// Effective rank (Garrido et al. 2023, eq. 1): exp of the entropy of p = s/Σs + 1e-5 over the singular values s. Rows are not centred.
    /// Singular values are computed in double, and not from a Gram matrix, which halves their digits.
    /// </summary>
    /// <param name="embedding">(M, d) floating point.</param>
    /// <param name="epsilon">What is added to each p: 1e-5 as in stable-pretraining; others take 1e-7.</param>
    /// <returns>1 … min(M, d); NaN where all embeddings are 0 or one is not finite.</returns>
    public static double RankMe(Tensor embedding, double epsilon = RankEpsilon)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var rows = Rows(embedding);
        if (!rows.isfinite().all().item<bool>())
        {
            return double.NaN;
        }

        var singular = linalg.svdvals(rows);
        var p = singular.div(singular.sum()).add(Scalars.Of(epsilon));
        return Math.Exp(-xlogy(p, p).sum().item<double>());
    }

    /// <summary>Every k-th row, so that at most <see cref="LargestSample"/> are left.</summary>
    internal static Tensor Sample(Tensor embedding)
    {
        var rows = embedding.size(0);
        return embedding.slice(0, 0, rows, Math.Max(1, (rows + LargestSample - 1) / LargestSample));
    }

    /// <summary>
    /// How evenly images are spread over prototypes (Caron et al. 2021, section 5.3: collapse to the uniform distribution or to one dimension).
    /// </summary>
    /// <param name="assignment">(M, K) floating point, K ≥ 2, rows sum to 1.</param>
    /// <returns>Mean entropy of the rows and entropy of their mean, both divided by ln K.</returns>
    public static (double Assignment, double Usage) Entropies(Tensor assignment)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var p = Rows(Sample(assignment));
        var most = Math.Log(p.shape[1]);
        var mean = p.mean([0L]);
        return (-p.xlogy(p).sum().item<double>() / p.shape[0] / most, -mean.xlogy(mean).sum().item<double>() / most);
    }

    /// <summary>
    /// The verdict on a history of reports: a kind of collapse if the mean diagnostics of its last tenth say so, at chance if the mean loss of its
    /// last tenth has not left the chance level by <see cref="ChanceMargin"/>, else learned.
    /// A low loss alone is no collapse, since SimSiam's collapsed value is also its best one; only one that has all but reached that value is.
    /// </summary>
    internal static Verdict Judge(IReadOnlyList<ReportPoint> history, LossLevels? levels)
    {
        if (history.Count == 0)
        {
            return Verdict.Untrained;
        }

        var tail = new ReportPoint(
            0,
            0,
            Tail(history, p => p.Loss),
            0,
            Tail(history, p => p.Deviation),
            Tail(history, p => p.RankMe),
            Tail(history, p => p.AssignmentEntropy),
            Tail(history, p => p.UsageEntropy),
            Tail(history, p => p.Dimensions));
        var collapse = Collapse(tail, history[0], levels);
        return collapse
            ?? (levels?.Chance is { } chance && Tail(history, p => p.Loss) > chance - (ChanceMargin * Math.Max(1, Math.Abs(chance)))
                ? Verdict.AtChance
                : Verdict.Learned);
    }

    /// <summary>Whether the last <see cref="EstablishedReports"/> reports are all collapsed.</summary>
    internal static bool IsEstablished(IReadOnlyList<ReportPoint> history, LossLevels? levels) =>
        history.Count >= EstablishedReports && history.Skip(history.Count - EstablishedReports).All(p => Collapse(p, history[0], levels) is not null);

    /// <summary>Step of the first report of the collapsed stretch that the history ends with; null where it does not end with one.</summary>
    internal static long? CollapsedSince(IReadOnlyList<ReportPoint> history, LossLevels? levels)
    {
        long? since = null;
        for (var i = history.Count - 1; i >= 0 && Collapse(history[i], history[0], levels) is not null; i--)
        {
            since = history[i].Step;
        }

        return since;
    }

    /// <summary>The kind of collapse that one report shows, what is known most exactly first; null for none.</summary>
    private static Verdict? Collapse(in ReportPoint p, in ReportPoint first, LossLevels? levels) =>
        p.UsageEntropy < OneEntropy ? Verdict.CollapsedToOne
        : p.UsageEntropy - p.AssignmentEntropy < UninformedAssignment ? (p.AssignmentEntropy > 0.5 ? Verdict.CollapsedUniform : Verdict.CollapsedToOne)
        : !(p.Deviation >= CollapsedDeviation) || IsCollapsedLoss(p.Loss, first.Loss, levels) ? Verdict.Collapsed
        : !(p.RankMe >= LeastRank(p.Dimensions)) ? Verdict.CollapsedDimensions
        : null;

    /// <summary>
    /// The effective rank below which embeddings that could fill so many dimensions have collapsed into a few: <see cref="CollapsedRank"/>, less where
    /// hardly more could be reached, or <see cref="CollapsedRankPart"/>. Of one dimension no part can be left empty: 0.
    /// </summary>
    /// <param name="dimensions">The lesser of rows and columns; NaN where unknown.</param>
    internal static double LeastRank(double dimensions) =>
        dimensions <= 1 ? 0
        : dimensions < CollapsedRankFrom ? 1 + ((CollapsedRank - 1) * (dimensions - 1) / (CollapsedRankFrom - 1))
        : double.IsNaN(dimensions) ? CollapsedRank
        : Math.Max(CollapsedRank, CollapsedRankPart * dimensions);

    private static bool IsCollapsedLoss(double loss, double first, LossLevels? levels) =>
        levels?.Collapsed is { } collapsed && !(levels.Chance <= collapsed) && first > collapsed
        && Math.Abs(loss - collapsed) <= CollapsedLossPart * (first - collapsed);

    /// <summary>Mean over the last tenth of the reports; NaN without any.</summary>
    internal static double Tail(IReadOnlyList<ReportPoint> history, Func<ReportPoint, double> field) =>
        history.Count == 0 ? double.NaN : history.Skip(history.Count - ((history.Count + 9) / 10)).Average(field);

    private static Tensor Rows(Tensor embedding) => Aten.Sizes(embedding) is [> 0, > 0]
        ? embedding.detach().to(ScalarType.Float64).cpu()
        : throw new ArgumentException($"expected (M, d), received ({string.Join(", ", embedding.shape)})", nameof(embedding));
}

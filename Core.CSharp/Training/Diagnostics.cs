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

    /// <summary>A run whose last deviation is below this has collapsed: a tenth of what evenly spread embeddings have.</summary>
    public const double CollapsedDeviation = 0.1;

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
        var rows = nn.functional.normalize(Rows(embedding), 2, 1);
        return rows.std(0, unbiased: false).mean().item<double>() * Math.Sqrt(embedding.size(1));
    }

    /// <summary>
    /// Effective rank (Garrido et al. 2023, eq. 1): exp of the entropy of p = s/Σs + 1e-5 over the singular values s. Rows are not centred.
    /// Singular values come from the smaller Gram matrix in double: exact to about 1e-8 of the largest.
    /// </summary>
    /// <param name="embedding">(M, d) floating point.</param>
    /// <returns>1 … min(M, d); NaN where all embeddings are 0 or one is not finite.</returns>
    public static double RankMe(Tensor embedding)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var rows = Rows(embedding);
        var gram = rows.size(0) < rows.size(1) ? rows.mm(rows.t()) : rows.t().mm(rows);
        if (!gram.isfinite().all().item<bool>())
        {
            return double.NaN;
        }

        var singular = linalg.eigvalsh(gram).clamp(min: 0).sqrt();
        var p = (singular / singular.sum()) + RankEpsilon;
        return Math.Exp(-(p * p.log()).sum().item<double>());
    }

    /// <summary>Every k-th row, so that at most <see cref="LargestSample"/> are left.</summary>
    internal static Tensor Sample(Tensor embedding)
    {
        var rows = embedding.size(0);
        return embedding.slice(0, 0, rows, Math.Max(1, (rows + LargestSample - 1) / LargestSample));
    }

    /// <summary>
    /// The verdict on a history of reports: collapsed if the mean deviation of its last tenth is below <see cref="CollapsedDeviation"/>,
    /// at chance if the mean loss of its last tenth has not left the chance level by <see cref="ChanceMargin"/>, else learned.
    /// The loss says nothing of collapse by itself: SimSiam's collapsed value is also its best one.
    /// </summary>
    internal static Verdict Judge(IReadOnlyList<ReportPoint> history, LossLevels? levels)
    {
        if (history.Count == 0)
        {
            return Verdict.Untrained;
        }

        if (!(Tail(history, p => p.Deviation) >= CollapsedDeviation))
        {
            return Verdict.Collapsed;
        }

        return levels?.Chance is { } chance && Tail(history, p => p.Loss) > chance - (ChanceMargin * Math.Max(1, Math.Abs(chance)))
            ? Verdict.AtChance
            : Verdict.Learned;
    }

    /// <summary>Mean over the last tenth of the reports; NaN without any.</summary>
    internal static double Tail(IReadOnlyList<ReportPoint> history, Func<ReportPoint, double> field) =>
        history.Count == 0 ? double.NaN : history.Skip(history.Count - ((history.Count + 9) / 10)).Average(field);

    private static Tensor Rows(Tensor embedding) => Aten.Sizes(embedding) is [> 0, > 0]
        ? embedding.detach().to(ScalarType.Float64).cpu()
        : throw new ArgumentException($"expected (M, d), received ({string.Join(", ", embedding.shape)})", nameof(embedding));
}

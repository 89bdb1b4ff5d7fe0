using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>Choices of <see cref="LogisticProbe"/>.</summary>
/// <param name="HeldOut">Part of the training split that chooses λ, above 0 and below 1.</param>
/// <param name="Seed">Seed of that part; it is stratified by class.</param>
public sealed record LogisticProbeOptions(double HeldOut, ulong Seed);

/// <summary>Score of a logistic probe.</summary>
/// <param name="Accuracy">On the test split, in percent.</param>
/// <param name="L2">Chosen λ.</param>
/// <param name="HeldOutAccuracy">Of that λ on the held-out part, in percent.</param>
/// <param name="Converged">Whether every fit reached its optimum.</param>
/// <param name="GradientNorm">Norm of the last fit's gradient.</param>
/// <param name="Iterations">Directions of the solver, all fits together.</param>
public sealed record LogisticProbeResult(double Accuracy, double L2, double HeldOutAccuracy, bool Converged, double GradientNorm, int Iterations);

/// <summary>
/// Multinomial logistic regression on frozen features at its optimum (<see cref="LogisticRegression"/>). Features are standardised by the training
/// split; λ is chosen on a held-out part of the training split, then the classifier is fitted to all of it and tested once. Penalties are powers of
/// ten, first 0.1 to 1e-5, and further ones as long as the best lies at an end, from 1e-8 to 100.
/// </summary>
/// <remarks>Differs from <see cref="LinearProbe"/>, which stops after a number of passes, wherever it is, and chooses from a given list.</remarks>
public static class LogisticProbe
{
    /// <summary>Columns whose variance is no larger than this part of their squared mean are constant but for rounding.</summary>
    private const double ConstantPart = 1e-12;

    // More columns than this keep their own axes: the principal ones would take longer than they save.
    private const int MostAxes = 2048;

    // From the strongest to the weakest.
    private static readonly double[] Penalties = [1e2, 1e1, 1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8];
    private static readonly int FirstStrongest = Array.IndexOf(Penalties, 1e-1);
    private static readonly int FirstWeakest = Array.IndexOf(Penalties, 1e-5);

    /// <summary>Trains on one bank, tests on the other.</summary>
    /// <exception cref="ArgumentException">A held-out part out of range, other widths, an image without a label, fewer than two classes, or no class of two images.</exception>
    public static LogisticProbeResult Evaluate(FeatureBank train, FeatureBank test, LogisticProbeOptions options, CancellationToken stop = default)
    {
        if (!(options.HeldOut > 0 && options.HeldOut < 1))
        {
            throw new ArgumentException($"The held-out part must lie above 0 and below 1; received {options.HeldOut}.", nameof(options));
        }

        ProbeSplit.Check(train, test);
        var labels = train.Classes(nameof(train));
        var truth = test.Classes(nameof(test));
        var classes = (int)labels.Max() + 1;
        var (order, kept) = ProbeSplit.HeldOutLast(labels, options.HeldOut, options.Seed);

        if (kept == order.Length)
        {
            throw new ArgumentException("A logistic probe holds out images to choose its penalty, but no class of the training split has two.", nameof(train));
        }

        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var (mean, map) = Axes(train.Features);
        var rows = Mapped(train.Features, mean, map).index_select(0, tensor(order)); // (N, d), the held-out part last
        var targets = train.Labels.index_select(0, tensor(order));
        var heldOut = rows.narrow(0, kept, order.Length - kept);
        var heldOutLabels = order[kept..].Select(i => labels[i]).ToArray();
        var (fits, accuracies) = (new LogisticFit?[Penalties.Length], new double[Penalties.Length]);
        for (var i = FirstStrongest; i <= FirstWeakest; i++)
        {
            Try(i, i - 1);
        }

        var (strongest, weakest) = (FirstStrongest, FirstWeakest);
        while (Best() == weakest && weakest < Penalties.Length - 1)
        {
            Try(++weakest, weakest - 1);
        }

        while (Best() == strongest && strongest > 0)
        {
            Try(--strongest, strongest + 1);
        }

        var best = Best();
        var last = LogisticRegression.Fit(rows, targets, classes, Penalties[best], fits[best]!.Point, stop);
        return new LogisticProbeResult(
            Accuracy(Mapped(test.Features, mean, map), truth, last.Point, classes),
            Penalties[best],
            accuracies[best],
            last.Converged && fits.All(f => f is null || f.Converged),
            last.GradientNorm,
            last.Iterations + fits.Sum(f => f?.Iterations ?? 0));

        void Try(int penalty, int neighbour)
        {
            fits[penalty] = LogisticRegression.Fit(
                rows.narrow(0, 0, kept), targets.narrow(0, 0, kept), classes, Penalties[penalty], fits[neighbour]?.Point, stop);
            accuracies[penalty] = Accuracy(heldOut, heldOutLabels, fits[penalty]!.Point, classes);
        }

        // Of equal accuracies that of the strongest penalty.
        int Best() => Enumerable.Range(strongest, weakest - strongest + 1).MaxBy(i => accuracies[i]);
    }

    /// <summary>The columns' means, and what takes centred columns to principal axes of the standardised ones: a turn, which leaves ‖W‖ as it is.</summary>
    private static (Tensor Mean, Tensor Map) Axes(Tensor features)
    {
        using var scope = NewDisposeScope();
        var wide = features.to(ScalarType.Float64);
        var mean = wide.mean([0L], keepdim: true); // (1, d)
        var centred = wide.sub_(mean);
        var variance = centred.square().mean([0L]); // (d)
        var constant = variance.le(mean.squeeze(0).square().mul(Scalars.Of(ConstantPart)));
        var scale = variance.rsqrt().masked_fill_(constant, Scalars.Of(0)); // constant columns drop out
        var map = scale.diag();
        if (features.shape[1] <= MostAxes)
        {
            var standardised = centred.mul_(scale);
            var (_, axes) = linalg.eigh(standardised.t().mm(standardised).div_(Scalars.Of(features.shape[0])));
            map = map.mm(axes);
        }

        return (mean.MoveToOuterDisposeScope(), map.MoveToOuterDisposeScope());
    }

    private static Tensor Mapped(Tensor features, Tensor mean, Tensor map)
    {
        using var scope = NewDisposeScope();
        return features.to(ScalarType.Float64).sub_(mean).mm(map).MoveToOuterDisposeScope();
    }

    /// <summary>Percent of rows whose largest score is at their label.</summary>
    private static double Accuracy(Tensor rows, long[] labels, double[] point, int classes)
    {
        using var scope = NewDisposeScope();
        var weight = zeros(rows.shape[1], classes, ScalarType.Float64);
        var bias = zeros(classes, ScalarType.Float64);
        LogisticLoss.Load(point, weight, bias);
        var predicted = addmm(bias, rows, weight, 1, 1).argmax(1).data<long>().ToArray();
        return 100.0 * labels.Where((label, i) => predicted[i] == label).Count() / labels.Length;
    }
}

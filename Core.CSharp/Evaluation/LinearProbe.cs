using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>Choices of <see cref="LinearProbe"/>.</summary>
/// <param name="Epochs">Most passes of the solver (L-BFGS directions) for one fit.</param>
/// <param name="L2Grid">Penalties λ to choose from; the loss is mean cross entropy + (λ/2)‖W‖².</param>
/// <param name="HeldOut">Part of the training split that chooses λ, above 0 and below 1; 0 is allowed with a single λ.</param>
/// <param name="Seed">Seed of that part; it is stratified by class.</param>
public sealed record LinearProbeOptions(int Epochs, IReadOnlyList<double> L2Grid, double HeldOut, ulong Seed);

/// <summary>Score of a linear probe.</summary>
/// <param name="Accuracy">On the test split, in percent.</param>
/// <param name="L2">Chosen λ.</param>
/// <param name="HeldOutAccuracy">Of that λ on the held-out part, in percent; NaN where nothing was held out.</param>
public sealed record LinearProbeResult(double Accuracy, double L2, double HeldOutAccuracy);

/// <summary>
/// Multinomial logistic regression on frozen features, solved by full-batch L-BFGS. Features are standardised by the training split;
/// λ is chosen on a held-out part of the training split, then the classifier is fitted to all of it and tested once.
/// </summary>
public static class LinearProbe
{
    // Below these a fit no longer changes predictions noticeably; float32 sums are good to about 1e-7.
    private const double GradientTolerance = 1e-5;
    private const double ValueTolerance = 1e-7;

    /// <summary>Trains on one bank, tests on the other.</summary>
    /// <exception cref="ArgumentException">Impossible options, other widths, an image without a label, or fewer than two classes.</exception>
    public static LinearProbeResult Evaluate(FeatureBank train, FeatureBank test, LinearProbeOptions options, CancellationToken stop = default)
    {
        Check(train, test, options);
        var labels = train.Classes(nameof(train));
        var truth = test.Classes(nameof(test));
        var classes = (int)labels.Max() + 1;
        var (order, kept) = ProbeSplit.HeldOutLast(labels, options.HeldOut, options.Seed);

        using var frozen = no_grad();
        using var scope = NewDisposeScope();
        var (mean, scale) = Moments(train.Features);
        var positions = tensor(order);
        var rows = train.Features.index_select(0, positions).sub_(mean).mul_(scale); // (N, d), the held-out part last
        var targets = train.Labels.index_select(0, positions);

        double best = options.L2Grid[0], bestAccuracy = double.NaN;
        if (kept < order.Length)
        {
            using var part = new LogisticLoss(rows.narrow(0, 0, kept), targets.narrow(0, 0, kept), classes);
            var heldOut = rows.narrow(0, kept, order.Length - kept);
            var heldOutLabels = order[kept..].Select(i => labels[i]).ToArray();
            var point = new double[part.Size];
            bestAccuracy = -1;

            // From strong to weak penalties, each fit starting at the last solution; the stronger one wins a tie.
            foreach (var l2 in options.L2Grid.OrderDescending())
            {
                Fit(part, point, l2, options.Epochs, stop);
                var accuracy = Accuracy(heldOut, heldOutLabels, point, null, null, classes);
                if (accuracy > bestAccuracy)
                {
                    (best, bestAccuracy) = (l2, accuracy);
                }
            }
        }

        using var all = new LogisticLoss(rows, targets, classes);
        var solution = new double[all.Size];
        Fit(all, solution, best, options.Epochs, stop);
        return new LinearProbeResult(Accuracy(test.Features, truth, solution, mean, scale, classes), best, bestAccuracy);
    }

    private static void Fit(LogisticLoss loss, double[] point, double l2, int epochs, CancellationToken stop) =>
        Lbfgs.Minimise((at, gradient) => loss.Evaluate(at, gradient, l2), point, epochs, GradientTolerance, ValueTolerance, stop);

    /// <summary>Percent of rows whose largest score is at their label; standardisation is folded into the weights where it is given.</summary>
    private static double Accuracy(Tensor rows, long[] labels, double[] point, Tensor? mean, Tensor? scale, int classes)
    {
        using var scope = NewDisposeScope();
        var weight = zeros(rows.shape[1], classes);
        var bias = zeros(classes);
        LogisticLoss.Load(point, weight, bias);
        if (mean is not null && scale is not null)
        {
            weight.mul_(scale.unsqueeze(1));
            bias.sub_(mean.unsqueeze(0).mm(weight).squeeze(0));
        }

        var predicted = addmm(bias, rows, weight, 1, 1).argmax(1).data<long>().ToArray();
        return 100.0 * labels.Where((label, i) => predicted[i] == label).Count() / labels.Length;
    }

    /// <summary>Mean and reciprocal deviation of each column; constant columns get 0 and so drop out.</summary>
    private static (Tensor Mean, Tensor Scale) Moments(Tensor features)
    {
        using var scope = NewDisposeScope();
        var mean = features.mean([0L]);
        var variance = features.var([0L], false);
        var constant = variance.le(mean.square().mul(Scalars.Of(1e-12f)));
        var scale = variance.rsqrt().masked_fill(constant, Scalars.Of(0f));
        return (mean.MoveToOuterDisposeScope(), scale.MoveToOuterDisposeScope());
    }

    private static void Check(FeatureBank train, FeatureBank test, LinearProbeOptions options)
    {
        if (options.Epochs < 1)
        {
            throw new ArgumentException($"A linear probe needs at least one epoch; received {options.Epochs}.", nameof(options));
        }

        if (options.L2Grid.Count == 0 || options.L2Grid.Any(l2 => !(l2 >= 0) || !double.IsFinite(l2)))
        {
            throw new ArgumentException($"A linear probe needs at least one penalty, none below 0; received [{string.Join("; ", options.L2Grid)}].", nameof(options));
        }

        if (!(options.HeldOut >= 0 && options.HeldOut < 1) || (options.HeldOut == 0 && options.L2Grid.Count > 1))
        {
            throw new ArgumentException(
                $"The held-out part must lie above 0 and below 1 to choose among {options.L2Grid.Count} penalties; received {options.HeldOut}.", nameof(options));
        }

        ProbeSplit.Check(train, test);
    }
}

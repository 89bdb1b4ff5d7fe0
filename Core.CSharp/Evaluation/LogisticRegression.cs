using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Evaluation;

/// <summary>A classifier fitted by <see cref="LogisticRegression"/>.</summary>
/// <param name="Point">W (d, classes) row by row, then b (classes).</param>
/// <param name="Converged">Whether it is the optimum; else the solver gave up.</param>
/// <param name="GradientNorm">Euclidean norm of the gradient there.</param>
/// <param name="Iterations">Directions of the solver.</param>
internal sealed record LogisticFit(double[] Point, bool Converged, double GradientNorm, int Iterations);

/// <summary>
/// The one minimum of mean cross entropy + (λ/2)‖W‖², wherever the search starts: in double, by L-BFGS on parameters that are measured by their own second
/// derivatives, anew every so many directions. A fit ends by its gradient: the loss is λ-strongly convex in W, so that ‖∂W‖ ≤ p·λ‖W‖ puts W within
/// p‖W‖ of the optimum, for a bias whose own gradient is all but 0.
/// </summary>
internal static class LogisticRegression
{
    /// <summary>p: largest distance from the optimum, as a part of ‖W‖.</summary>
    public const double Precision = 1e-7;

    // Directions between two looks at the second derivatives, and such rounds of one fit.
    private const int Round = 250;
    private const int MostRounds = 20;
    private const int History = 30;

    // What rounding of a mean over many rows leaves of a gradient: asked where W itself is 0.
    private const double GradientFloor = 1e-14;

    // Largest norm of the bias's gradient, which no penalty scales.
    private const double BiasGradient = 1e-11;

    // Of a mean of logarithms of probabilities, whose scores are some tens.
    private const double Rounding = 1e-14;

    /// <summary>Fits to all rows.</summary>
    /// <param name="rows">(N, d) float64. Columns that do not correlate are the quickest.</param>
    /// <param name="labels">(N) int64.</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="l2">λ &gt; 0.</param>
    /// <param name="start">Where the search starts, null for 0.</param>
    /// <param name="stop">Stops between iterations.</param>
    public static LogisticFit Fit(Tensor rows, Tensor labels, int classes, double l2, double[]? start, CancellationToken stop)
    {
        using var loss = new LogisticLoss(rows, labels, classes);
        var (point, scale) = (start?.ToArray() ?? new double[loss.Size], new double[loss.Size]);
        var weights = loss.Size - classes;
        var (norm, converged, iterations) = (double.NaN, false, 0);
        var scaled = new double[loss.Size];
        for (var round = 0; round < MostRounds && !converged; round++)
        {
            loss.Curvatures(point, scale, l2);
            for (var i = 0; i < scaled.Length; i++)
            {
                scale[i] = 1 / Math.Sqrt(scale[i]);
                scaled[i] = point[i] / scale[i];
            }

            iterations += Lbfgs.Minimise(Evaluate, scaled, Round, Reached, -1, Rounding, History, stop).Iterations;
            var gradient = new double[scaled.Length];
            Evaluate(scaled, gradient);
            converged = Reached(scaled, gradient);
        }

        return new LogisticFit(point, converged, norm, iterations);

        double Evaluate(ReadOnlySpan<double> at, Span<double> slope)
        {
            for (var i = 0; i < point.Length; i++)
            {
                point[i] = scale[i] * at[i];
            }

            var value = loss.Evaluate(point, slope, l2);
            for (var i = 0; i < slope.Length; i++)
            {
                slope[i] *= scale[i];
            }

            return value;
        }

        bool Reached(double[] at, double[] slope)
        {
            var (ofWeights, ofBias, size) = (0.0, 0.0, 0.0);
            for (var i = 0; i < at.Length; i++)
            {
                var own = slope[i] / scale[i] * (slope[i] / scale[i]);
                (ofWeights, ofBias) = i < weights ? (ofWeights + own, ofBias) : (ofWeights, ofBias + own);
                size += i < weights ? scale[i] * at[i] * (scale[i] * at[i]) : 0;
            }

            norm = Math.Sqrt(ofWeights + ofBias);
            return Math.Sqrt(ofBias) <= BiasGradient && Math.Sqrt(ofWeights) <= Math.Max(GradientFloor, Precision * l2 * Math.Sqrt(size));
        }
    }
}

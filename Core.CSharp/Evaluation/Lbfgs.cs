namespace SslResearch.Core.Evaluation;

/// <summary>Value of a function at <paramref name="point"/>; writes its gradient.</summary>
internal delegate double Objective(ReadOnlySpan<double> point, Span<double> gradient);

/// <summary>
/// Limited-memory BFGS (Nocedal and Wright 2006, algorithm 7.4) with a bisection line search for the weak Wolfe conditions
/// (Lewis and Overton 2013), which keeps every curvature pair positive.
/// </summary>
internal static class Lbfgs
{
    private const int LineSteps = 20;
    private const double SufficientDecrease = 1e-4;
    private const double Curvature = 0.9;

    /// <summary>Minimises from <paramref name="point"/>, in place.</summary>
    /// <param name="objective">Smooth function.</param>
    /// <param name="point">Start, then result.</param>
    /// <param name="iterations">At most this many directions.</param>
    /// <param name="gradientTolerance">Stops when no partial derivative is larger.</param>
    /// <param name="valueTolerance">Stops when a step gains less than this part of the value.</param>
    /// <param name="stop">Stops between iterations.</param>
    /// <returns>Value at the result and the number of directions taken.</returns>
    public static (double Value, int Iterations) Minimise(
        Objective objective, double[] point, int iterations, double gradientTolerance, double valueTolerance, CancellationToken stop) =>
        Minimise(objective, point, iterations, (_, gradient) => gradient.Max(Math.Abs) <= gradientTolerance, valueTolerance, 0, 10, stop);

    /// <summary>The same, until a condition on the point and its gradient holds.</summary>
    /// <param name="objective">Smooth function.</param>
    /// <param name="point">Start, then result.</param>
    /// <param name="iterations">At most this many directions.</param>
    /// <param name="reached">Of a point and its gradient: stops there.</param>
    /// <param name="valueTolerance">Stops when a step gains less than this part of the value; below 0, never.</param>
    /// <param name="rounding">
    /// Error of a value, as a part of the larger of it and 1: where values differ by less, the slope decides alone (Hager and Zhang 2005, approximate
    /// Wolfe conditions), which still has digits near the minimum. 0 for none.
    /// </param>
    /// <param name="history">Steps that curvature is taken from.</param>
    /// <param name="stop">Stops between iterations.</param>
    /// <returns>Value at the result and the number of directions taken.</returns>
    public static (double Value, int Iterations) Minimise(
        Objective objective, double[] point, int iterations, Func<double[], double[], bool> reached, double valueTolerance, double rounding, int history, CancellationToken stop)
    {
        var size = point.Length;
        var pairs = new List<(double[] Step, double[] Change, double Curvature)>(history);
        double[] gradient = new double[size], direction = new double[size], trial = new double[size], trialGradient = new double[size];
        var value = objective(point, gradient);
        for (var iteration = 0; iteration < iterations; iteration++)
        {
            stop.ThrowIfCancellationRequested();
            if (reached(point, gradient))
            {
                return (value, iteration);
            }

            Direction(gradient, pairs, direction);
            var slope = Dot(gradient, direction);
            if (!(slope < 0))
            {
                return (value, iteration);
            }

            // Without curvature yet, the first trial moves by one unit of length at most.
            var step = pairs.Count == 0 ? Math.Min(1, 1 / Math.Sqrt(Dot(gradient, gradient))) : 1;
            double low = 0, high = double.PositiveInfinity, trialValue = 0;
            var found = false;
            for (var i = 0; i < LineSteps && !found; i++)
            {
                AddScaled(point, step, direction, trial);
                trialValue = objective(trial, trialGradient);
                if (!(trialValue <= value + (SufficientDecrease * step * slope)) && !IsFlat(trialValue))
                {
                    high = step;
                }
                else if (Dot(trialGradient, direction) < Curvature * slope)
                {
                    low = step;
                }
                else
                {
                    found = true;
                    break;
                }

                step = double.IsPositiveInfinity(high) ? 2 * low : (low + high) / 2;
            }

            if (!found)
            {
                return (value, iteration); // rounding is all that is left to gain
            }

            var moved = new double[size];
            var change = new double[size];
            AddScaled(trial, -1, point, moved);
            AddScaled(trialGradient, -1, gradient, change);
            var curvature = Dot(moved, change);
            if (curvature > 0)
            {
                if (pairs.Count == history)
                {
                    pairs.RemoveAt(0);
                }

                pairs.Add((moved, change, curvature));
            }

            var gain = value - trialValue;
            value = trialValue;
            trial.CopyTo(point, 0);
            trialGradient.CopyTo(gradient, 0);
            if (gain <= valueTolerance * Math.Abs(value))
            {
                return (value, iteration + 1);
            }
        }

        return (value, iterations);

        bool IsFlat(double trialValue) =>
            rounding > 0 && trialValue <= value + (rounding * Math.Max(1, Math.Abs(value)))
            && Dot(trialGradient, direction) <= ((2 * SufficientDecrease) - 1) * Dot(gradient, direction);
    }

    // The two-loop recursion: −H·gradient.
    private static void Direction(double[] gradient, List<(double[] Step, double[] Change, double Curvature)> pairs, double[] direction)
    {
        Array.Clear(direction);
        AddScaled(direction, -1, gradient, direction);
        Span<double> factors = stackalloc double[pairs.Count];
        for (var i = pairs.Count - 1; i >= 0; i--)
        {
            factors[i] = Dot(pairs[i].Step, direction) / pairs[i].Curvature;
            AddScaled(direction, -factors[i], pairs[i].Change, direction);
        }

        if (pairs.Count > 0)
        {
            var (_, change, curvature) = pairs[^1];
            AddScaled(direction, (curvature / Dot(change, change)) - 1, direction, direction);
        }

        for (var i = 0; i < pairs.Count; i++)
        {
            var factor = factors[i] - (Dot(pairs[i].Change, direction) / pairs[i].Curvature);
            AddScaled(direction, factor, pairs[i].Step, direction);
        }
    }

    private static double Dot(double[] a, double[] b)
    {
        var sum = 0.0;
        for (var i = 0; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }

    /// <summary>result ← a + factor·b; the result may be a or b.</summary>
    private static void AddScaled(double[] a, double factor, double[] b, double[] result)
    {
        for (var i = 0; i < a.Length; i++)
        {
            result[i] = a[i] + (factor * b[i]);
        }
    }
}

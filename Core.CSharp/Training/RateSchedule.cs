namespace SslResearch.Core.Training;

/// <summary>
/// Learning rate as a function of the step: linear warm-up, then half a cosine. Of the many variants this is lightly's
/// (CosineWarmupScheduler): with T steps, W of them warm-up, step s from 0,
/// <c>rate(s) = peak·(s+1)/W</c> for s &lt; W (so the first step runs at peak/W, not at 0), else
/// <c>final + (peak−final)·(1 + cos(π(s−W)/(T−W−1)))/2</c>: the peak once more at s = W, and exactly the final rate at the last step, also
/// where the warm-up leaves no other. A warm-up to the end (W = T) ends at the peak, and a training of one step without warm-up takes the peak.
/// </summary>
public sealed class RateSchedule
{
    private readonly double peak;
    private readonly double final;

    /// <summary>Makes a schedule.</summary>
    /// <param name="peak">Rate after warm-up.</param>
    /// <param name="warmupFraction">W = round(fraction·T), 0 … 1.</param>
    /// <param name="final">Rate of the last step.</param>
    /// <param name="totalSteps">T.</param>
    public RateSchedule(double peak, double warmupFraction, double final, long totalSteps)
    {
        if (warmupFraction is not (>= 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(warmupFraction), warmupFraction, "expected 0 to 1");
        }

        this.peak = peak;
        this.final = final;
        TotalSteps = totalSteps;
        WarmupSteps = (long)Math.Round(warmupFraction * totalSteps, MidpointRounding.AwayFromZero);
    }

    /// <summary>T.</summary>
    public long TotalSteps { get; }

    /// <summary>W.</summary>
    public long WarmupSteps { get; }

    /// <summary>Rate of a step, from 0; behind the last step the final rate.</summary>
    public double At(long step) =>
        step < WarmupSteps ? peak * (step + 1) / WarmupSteps
        : step >= TotalSteps || (step == TotalSteps - 1 && step > 0) ? final
        : final + ((peak - final) * 0.5 * (1 + Math.Cos(Math.PI * (step - WarmupSteps) / Math.Max(1, TotalSteps - WarmupSteps - 1))));
}

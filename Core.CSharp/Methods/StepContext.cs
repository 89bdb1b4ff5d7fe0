namespace SslResearch.Core.Methods;

/// <summary>Where in the training a step is.</summary>
/// <param name="Seed">Seed of the run.</param>
/// <param name="Step">Step, from 0.</param>
/// <param name="TotalSteps">Steps of the whole training.</param>
/// <param name="Epoch">Epoch, from 0.</param>
public readonly record struct StepContext(ulong Seed, long Step, long TotalSteps, int Epoch)
{
    // Room for what multiplication adds to a part that is meant exactly: 0.55 · 20 is no more than 11 steps.
    private const double Slack = 1e-9;

    /// <summary>Whether the step is among the first of all steps.</summary>
    /// <param name="part">0 … 1; a step that begins within it counts.</param>
    public bool IsWithin(double part) => Step < (part - Slack) * TotalSteps;
}

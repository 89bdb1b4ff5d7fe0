namespace SslResearch.Core.Methods;

/// <summary>Where in the training a step is.</summary>
/// <param name="Seed">Seed of the run.</param>
/// <param name="Step">Step, from 0.</param>
/// <param name="TotalSteps">Steps of the whole training.</param>
/// <param name="Epoch">Epoch, from 0.</param>
public readonly record struct StepContext(ulong Seed, long Step, long TotalSteps, int Epoch);

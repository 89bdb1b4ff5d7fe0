namespace SslResearch.Core.Training;

/// <summary>One line of metrics.jsonl: what a report holds that is a function of the run alone, not of the machine's speed.</summary>
/// <param name="Step">Finished steps.</param>
/// <param name="Epoch">Epoch, from 0.</param>
/// <param name="Loss">Loss of that step.</param>
/// <param name="Rate">Learning rate of that step.</param>
/// <param name="Deviation">As in <see cref="StepReport"/>.</param>
/// <param name="RankMe">As in <see cref="StepReport"/>.</param>
public readonly record struct ReportPoint(long Step, int Epoch, double Loss, double Rate, double Deviation, double RankMe);

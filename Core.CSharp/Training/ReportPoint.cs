namespace SslResearch.Core.Training;

/// <summary>One line of metrics.jsonl: what a report holds that is a function of the run alone, not of the machine's speed.</summary>
/// <param name="Step">Finished steps.</param>
/// <param name="Epoch">Epoch, from 0; people and files are told it from 1.</param>
/// <param name="Loss">Loss of that step.</param>
/// <param name="Rate">Learning rate of that step.</param>
/// <param name="Deviation">As in <see cref="StepReport"/>.</param>
/// <param name="RankMe">As in <see cref="StepReport"/>.</param>
/// <param name="AssignmentEntropy">Mean entropy of the teacher's distributions over K prototypes, divided by ln K: 1 when uniform; NaN for methods without them.</param>
/// <param name="UsageEntropy">Entropy of the mean distribution, divided by ln K: 0 when all images go to one prototype; NaN for methods without them.</param>
/// <param name="Dimensions">Largest RankMe there could be: the lesser of rows and columns of the embeddings looked at; NaN where unknown.</param>
public readonly record struct ReportPoint(
    long Step,
    int Epoch,
    double Loss,
    double Rate,
    double Deviation,
    double RankMe,
    double AssignmentEntropy = double.NaN,
    double UsageEntropy = double.NaN,
    double Dimensions = double.NaN);

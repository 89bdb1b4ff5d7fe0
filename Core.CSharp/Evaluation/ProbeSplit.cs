using SslResearch.Core.Runtime;

namespace SslResearch.Core.Evaluation;

/// <summary>What probes do with the training split before they fit anything.</summary>
internal static class ProbeSplit
{
    /// <summary>Refuses banks that no classifier can be trained and tested on.</summary>
    /// <exception cref="ArgumentException">Other widths, a training image without a label, or fewer than two classes.</exception>
    public static void Check(FeatureBank train, FeatureBank test)
    {
        if (train.Width != test.Width)
        {
            throw new ArgumentException($"Training features have width {train.Width}, test features {test.Width}.", nameof(test));
        }

        if (train.Classes(nameof(train)).Distinct().Take(2).Count() < 2)
        {
            throw new ArgumentException("A linear probe needs at least two classes in the training split.", nameof(train));
        }
    }

    /// <summary>Row order with the held-out part last, stratified by class, and how many rows come before it.</summary>
    /// <param name="labels">Classes.</param>
    /// <param name="heldOut">0 … 1; where it is above 0, of a class of several images at least one is held out, and one is kept.</param>
    /// <param name="seed">Decides which.</param>
    public static (long[] Order, int Kept) HeldOutLast(long[] labels, double heldOut, ulong seed)
    {
        List<long> kept = [], last = [];
        foreach (var members in labels.Select((label, i) => (Label: label, Index: (long)i)).GroupBy(p => p.Label).OrderBy(g => g.Key))
        {
            var indices = members.Select(m => m.Index).ToArray();
            var permutation = new int[indices.Length];
            new Philox(seed, RandomPurpose.Evaluation, 0, (uint)members.Key).Permutation(permutation);
            var part = heldOut == 0
                ? 0
                : Math.Clamp((int)Math.Round(heldOut * indices.Length), indices.Length > 1 ? 1 : 0, indices.Length - 1);
            last.AddRange(permutation[..part].Select(i => indices[i]));
            kept.AddRange(permutation[part..].Select(i => indices[i]));
        }

        kept.Sort();
        last.Sort();
        return ([.. kept, .. last], kept.Count);
    }
}

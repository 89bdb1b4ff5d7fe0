using System.Globalization;
using SslResearch.Core.Augment;
using SslResearch.Core.Data;
using SslResearch.Core.Methods;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// What makes a checkpoint this run's and no other's: one line a fact. Left out is what changes no result
/// (worker threads, checkpoint interval, folder) and what changes it by rounding only (device, thread count: those are recorded beside it).
/// </summary>
internal static class RunIdentity
{
    public static string Text<TViews>(
        ISslMethod<TViews> method, ImageStore data, IAugmenter<TViews> augmenter, TrainOptions options, IEnumerable<KeyValuePair<string, torch.Tensor>> tensors)
        where TViews : class, IViews
    {
        // Records print their numbers in the current culture; a checkpoint is the same in all.
        var culture = CultureInfo.CurrentCulture;
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        try
        {
            return string.Join('\n', Lines(method, data, augmenter, options, tensors));
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    private static List<string> Lines<TViews>(
        ISslMethod<TViews> method, ImageStore data, IAugmenter<TViews> augmenter, TrainOptions options, IEnumerable<KeyValuePair<string, torch.Tensor>> tensors)
        where TViews : class, IViews
    {
        var lines = new List<string>
        {
            $"method: {method.GetType().FullName} on {typeof(TViews).Name}",
            $"data: {data.Name} {data.Split} {data.Count} x {data.Shape} {data.Fingerprint}",
            $"views: {string.Join("; ", augmenter.Buffers.Select(b => $"{b.Name} {b.Type} {b.RowsPerImage} x ({string.Join(", ", b.RowShape)})"))}",
            $"epochs: {options.Epochs}",
            $"batch: {options.BatchSize}",
            $"optimiser: {options.Optimiser}",
            $"rate: peak {options.PeakRate:R}, warm-up {options.WarmupFraction:R}, final {options.FinalRate:R}",
            options.ClipNorm is { } clip ? $"clip: {clip:R}" : "clip: none",
            $"seed: {options.Seed}",
            $"report every: {options.ReportEvery}",
        };
        if (options.StopAtCollapse)
        {
            lines.Add("stops at collapse");
        }

        lines.AddRange(tensors.Select(t => $"tensor: {t.Key} {t.Value.dtype} ({string.Join(", ", t.Value.shape)})"));
        return lines;
    }

    /// <summary>The first line in which two identities differ, for a message.</summary>
    public static string Difference(string stored, string present)
    {
        var (a, b) = (stored.Split('\n'), present.Split('\n'));
        var i = 0;
        while (i < a.Length && i < b.Length && a[i] == b[i])
        {
            i++;
        }

        return $"it has '{(i < a.Length ? a[i] : "nothing more")}', this run has '{(i < b.Length ? b[i] : "nothing more")}'";
    }
}

using System.Globalization;
using System.Text;

namespace SslResearch.Benchmarks;

/// <summary>Renders stored results as Markdown; a pure function of the files.</summary>
internal static class ResultTable
{
    public static string Markdown(IEnumerable<ResultFile> files)
    {
        var text = new StringBuilder();
        text.Append("# Benchmarks\n\nRendered from `results/` by `./build.sh Bench`; not edited by hand. ");
        text.Append("Both sides run alternately in processes of their own; rates are medians over the rounds, the ratio is the median of the rounds' ratios (lowest to highest). What has no peer shows the spread of its own rounds.\n");
        foreach (var file in files)
        {
            var m = file.Machine;
            text.Append(CultureInfo.InvariantCulture, $"\n## {file.Date}, {m.Processor}, {m.Cores} cores\n\n");
            text.Append(CultureInfo.InvariantCulture, $"{m.System}; {m.Dotnet}, TorchSharp {m.TorchSharp}, libtorch {m.Libtorch}; peer: {m.Peer ?? "none"}.\n\n");
            text.Append("| | measured | unit | ours | peer | | ratio | asked | holds | commit |\n|---|---|---|---:|---:|---|---|---|---|---|\n");
            foreach (var e in file.Entries)
            {
                text.Append(CultureInfo.InvariantCulture, $"| {e.Letter} | {e.Title} | {e.Unit} | {Short(e.Ours)} | {(e.PeerRate is { } rate ? Short(rate) : "")} | {e.Peer} | {Ratio(e)} | {e.Goal} | {(e.Holds ? "yes" : "no")} | {e.Commit} |\n");
            }
        }

        return text.ToString();
    }

    /// <summary>Where there is no peer to divide by, the spread of our own rounds stands in the ratio's place.</summary>
    private static string Ratio(Entry e) => (e.Ratios, e.Rounds.Count) switch
    {
        ({ Count: > 0 }, _) => string.Create(CultureInfo.InvariantCulture, $"{Statistics.Median(e.Ratios):0.00}× {Spread(e.Ratios)}"),
        (_, 1) => "",
        _ => Spread([.. e.Rounds.Select(r => r.Ours)]),
    };

    private static string Spread(IReadOnlyList<double> values) =>
        string.Create(CultureInfo.InvariantCulture, $"({values.Min():0.00}–{values.Max():0.00}, {values.Count} rounds)");

    private static string Short(double value) => value.ToString(value >= 100 ? "N0" : "0.00", CultureInfo.InvariantCulture);
}

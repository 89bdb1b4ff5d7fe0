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
        text.Append("Both sides run alternately in processes of their own; rates are medians over the rounds, the ratio is the median of the rounds' ratios (lowest to highest).\n");
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

    private static string Ratio(Entry e) => e.Ratios.Count == 0 ? "" : string.Create(
        CultureInfo.InvariantCulture,
        $"{Statistics.Median(e.Ratios):0.00}× ({e.Ratios.Min():0.00}–{e.Ratios.Max():0.00}, {e.Ratios.Count} rounds)");

    private static string Short(double value) => value.ToString(value >= 100 ? "N0" : "0.00", CultureInfo.InvariantCulture);
}

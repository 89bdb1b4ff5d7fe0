extern alias language;

using System.Globalization;
using System.Text.Json;
using Language = language::SslResearch;

namespace SslResearch.Benchmarks;

/// <summary>
/// <c>[a "kernel queue" …] [--rounds N] [--seconds S] [--steps N] [--python PATH]</c>: measures cases by their letter or name (all without) against the peer,
/// stores and shows them. <c>render</c> only renders the table anew. <c>measure …</c> is one side of one case.
/// </summary>
internal static class Program
{
    private static int Main(string[] args)
    {
        try
        {
            var arguments = new Arguments(args);
            return arguments.Words switch
            {
                ["measure", .. var words] => Measure(words, arguments),
                ["render"] => Render(Root()),
                var wanted => Bench(wanted, arguments),
            };
        }
        catch (ArgumentException e)
        {
            Console.Error.WriteLine($"Bench: {e.Message}");
            return 2;
        }
    }

    private static int Measure(IReadOnlyList<string> words, Arguments arguments)
    {
        var answer = OurSide.Run(words, arguments.Number("--seconds", 10), (int)arguments.Number("--steps", 5000));
        Console.WriteLine(JsonSerializer.Serialize(answer));
        return 0;
    }

    private static int Bench(List<string> wanted, Arguments arguments)
    {
        var root = Root();
        var images = new Images(Path.Combine(root, "out", "bench"));
        var all = Cases.All(images);
        if (wanted.FirstOrDefault(w => !all.Any(c => c.Is(w))) is { } unknown)
        {
            throw new ArgumentException(
                $"there is no case '{unknown}'; cases are {string.Join("; ", all.GroupBy(c => c.Letter).Select(g => $"{g.Key}: {string.Join(", ", g.Select(c => c.Name))}"))}.");
        }

        images.Write();
        var side = new Side(root, arguments.Text("--python", "/usr/bin/python3"), arguments.Number("--seconds", 10), (int)arguments.Number("--steps", 5000));
        string? peer = null;
        try
        {
            peer = side.PeerVersions();
        }
        catch (PeerMissingException)
        {
            // Said once for each case that needs it.
        }

        var machine = Machine.Here(peer);
        foreach (var @case in all.Where(c => wanted.Count == 0 || wanted.Exists(c.Is)))
        {
            try
            {
                ResultFile.Store(Results(root), machine, Alternate(@case, side, (int)arguments.Number("--rounds", 5)));
            }
            catch (PeerMissingException e)
            {
                Console.WriteLine($"({@case.Letter}) {@case.Title}: skipped: {e.Message}");
            }
        }

        return Render(root);
    }

    private static Entry Alternate(Case @case, Side side, int rounds)
    {
        var done = new List<Round>();
        var unit = "";

        for (var i = 0; i < (@case.Once ? 1 : rounds); i++)
        {
            // Who goes first changes from round to round.
            var theirs = i % 2 == 1 ? side.Theirs(@case.Peer) : null;
            var ours = side.Ours(@case.Ours);
            theirs ??= side.Theirs(@case.Peer);
            unit = ours.Unit;
            done.Add(new Round(ours.Rate, theirs?.Rate));
            var against = theirs is null ? "" : string.Create(CultureInfo.InvariantCulture, $", peer {theirs.Rate:G4}, ratio {ours.Rate / theirs.Rate:0.00}");
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"({@case.Letter}) {@case.Title}: {ours.Rate:G4} {unit}{against}"));
        }

        var (commit, dirty) = Language.ProvenanceModule.commit();
        return Entry.Of(@case, unit, dirty ? $"{commit}+changes" : commit, done);
    }

    private static int Render(string root)
    {
        var files = ResultFile.All(Results(root));
        File.WriteAllText(Path.Combine(root, "benchmarks", "RESULTS.md"), ResultTable.Markdown(files));
        Console.WriteLine();
        Console.Write(ResultTable.Markdown(files.Take(1)));
        return 0;
    }

    private static string Results(string root) => Path.Combine(root, "benchmarks", "results");

    private static string Root()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "SslResearch.sln")))
            {
                return folder;
            }
        }

        throw new InvalidOperationException("The benchmarks run from within the repository.");
    }
}

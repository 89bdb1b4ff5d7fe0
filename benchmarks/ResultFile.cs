using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace SslResearch.Benchmarks;

/// <summary>One round: our side, then the peer (null where there is none).</summary>
internal sealed record Round(double Ours, double? Peer);

/// <summary>A measured case.</summary>
internal sealed record Entry(string Letter, string Name, string Title, string Unit, string Peer, string Goal, bool Holds, IReadOnlyList<Round> Rounds)
{
    public double Ours => Statistics.Median(Rounds.Select(r => r.Ours));

    public double? PeerRate => HasPeer ? Statistics.Median(Rounds.Select(r => r.Peer!.Value)) : null;

    /// <summary>Ratio of each round: neighbours in time share the machine's mood.</summary>
    public IReadOnlyList<double> Ratios => HasPeer ? [.. Rounds.Select(r => r.Ours / r.Peer!.Value)] : [];

    private bool HasPeer => Rounds.All(r => r.Peer is not null);

    public static Entry Of(Case @case, string unit, IReadOnlyList<Round> rounds)
    {
        var entry = new Entry(@case.Letter, @case.Name, @case.Title, unit, @case.Peer.Title, @case.Goal.Text, false, rounds);
        return entry with { Holds = @case.Goal.Holds(entry.HasPeer ? Statistics.Median(entry.Ratios) : entry.Ours) };
    }
}

/// <summary>What is stored: one file for a day and a machine.</summary>
internal sealed record ResultFile(string Date, string Commit, Machine Machine, IReadOnlyList<Entry> Entries)
{
    private static readonly JsonSerializerOptions Form = new()
    {
        WriteIndented = true,
        IgnoreReadOnlyProperties = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Adds entries to the file of that day and machine; measured anew, a case replaces its former entry.</summary>
    public static ResultFile Store(string folder, string commit, Machine machine, IReadOnlyList<Entry> entries)
    {
        Directory.CreateDirectory(folder);
        var date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        var path = Path.Combine(folder, $"{date}-{machine.Slug}.json");
        var kept = File.Exists(path) ? Read(path).Entries.Where(old => entries.All(e => e.Name != old.Name)) : [];
        var result = new ResultFile(date, commit, machine, [.. kept.Concat(entries).OrderBy(e => e.Letter, StringComparer.Ordinal).ThenBy(e => e.Name, StringComparer.Ordinal)]);
        File.WriteAllText(path, JsonSerializer.Serialize(result, Form) + "\n");
        return result;
    }

    public static IReadOnlyList<ResultFile> All(string folder) => !Directory.Exists(folder) ? [] :
        [.. Directory.GetFiles(folder, "*.json").OrderDescending(StringComparer.Ordinal).Select(Read)];

    private static ResultFile Read(string path) => JsonSerializer.Deserialize<ResultFile>(File.ReadAllText(path), Form)
        ?? throw new InvalidDataException($"{path} holds no result.");
}

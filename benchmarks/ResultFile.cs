using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace SslResearch.Benchmarks;

/// <summary>One round: our side, then the peer (null where there is none).</summary>
internal sealed record Round(double Ours, double? Peer);

/// <summary>A measured case, and the commit it was measured at.</summary>
internal sealed record Entry(
    string Letter, string Name, string Title, string Unit, string Peer, string Goal, bool Holds, string Commit, IReadOnlyList<Round> Rounds)
{
    public double Ours => Statistics.Median(Rounds.Select(r => r.Ours));

    public double? PeerRate => HasPeer ? Statistics.Median(Rounds.Select(r => r.Peer!.Value)) : null;

    /// <summary>Ratio of each round: neighbours in time share the machine's mood.</summary>
    public IReadOnlyList<double> Ratios => HasPeer ? [.. Rounds.Select(r => r.Ours / r.Peer!.Value)] : [];

    private bool HasPeer => Rounds.All(r => r.Peer is not null);

    public static Entry Of(Case @case, string unit, string commit, IReadOnlyList<Round> rounds)
    {
        var entry = new Entry(@case.Letter, @case.Name, @case.Title, unit, @case.Peer.Title, @case.Goal.Text, false, commit, rounds);
        return entry with { Holds = @case.Goal.Holds(entry.HasPeer ? Statistics.Median(entry.Ratios) : entry.Ours) };
    }
}

/// <summary>What is stored: one file for a day and a machine.</summary>
internal sealed record ResultFile(string Date, Machine Machine, IReadOnlyList<Entry> Entries)
{
    private static readonly JsonSerializerOptions Form = new()
    {
        WriteIndented = true,
        IgnoreReadOnlyProperties = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Adds an entry to the file of this day and that machine; measured anew, a case replaces its former entry.</summary>
    public static void Store(string folder, Machine machine, Entry entry)
    {
        Directory.CreateDirectory(folder);
        var date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
        var path = Path.Combine(folder, $"{date}-{machine.Slug}.json");
        var kept = File.Exists(path) ? Read(path).Entries.Where(old => old.Name != entry.Name) : [];
        var result = new ResultFile(date, machine, [.. kept.Append(entry).OrderBy(e => e.Letter, StringComparer.Ordinal).ThenBy(e => e.Name, StringComparer.Ordinal)]);
        File.WriteAllText(path, JsonSerializer.Serialize(result, Form) + "\n");
    }

    public static IReadOnlyList<ResultFile> All(string folder) => !Directory.Exists(folder) ? [] :
        [.. Directory.GetFiles(folder, "*.json").OrderDescending(StringComparer.Ordinal).Select(Read)];

    private static ResultFile Read(string path) => JsonSerializer.Deserialize<ResultFile>(File.ReadAllText(path), Form)
        ?? throw new InvalidDataException($"{path} holds no result.");
}

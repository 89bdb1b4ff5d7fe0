namespace SslResearch.Core.Data;

/// <summary>Counts what an import leaves out. Its result does not depend on the order of the source.</summary>
internal sealed class LeftOutCount
{
    private const int Named = 3;

    private readonly SortedDictionary<LeftOutReason, (int Count, SortedSet<string> First)> found = [];

    /// <summary>Everything, by reason.</summary>
    public IReadOnlyList<LeftOut> All => [.. found.Select(static f => new LeftOut(f.Key, f.Value.Count, [.. f.Value.First]))];

    /// <summary>Why an entry is neither read nor a fault, whatever the import is of; null where it may be read.</summary>
    public static LeftOutReason? ReasonOf(SourceEntry entry)
    {
        var parts = entry.Path.Split('/');
        return entry.LeftOut
            ?? (parts.Contains("__MACOSX") ? LeftOutReason.Archiver
                : parts.Any(static part => part.StartsWith('.')) ? LeftOutReason.Hidden
                : null);
    }

    /// <summary>Whether the entry is left out; files and links are counted.</summary>
    /// <param name="entry">One of the source.</param>
    /// <param name="isWanted">Whether the import reads files of that path.</param>
    /// <param name="otherwise">Why it does not read others.</param>
    public bool Takes(SourceEntry entry, Func<string, bool> isWanted, LeftOutReason otherwise)
    {
        var reason = ReasonOf(entry) ?? (entry.IsFolder || isWanted(entry.Path) ? null : otherwise);
        if (reason is { } why && (!entry.IsFolder || entry.LeftOut is not null))
        {
            var (count, first) = found.GetValueOrDefault(why, (0, new SortedSet<string>(StringComparer.Ordinal)));
            first.Add(entry.Path);
            if (first.Count > Named)
            {
                first.Remove(first.Max!);
            }

            found[why] = (count + 1, first);
        }

        return reason is not null;
    }

    /// <summary>For the end of a message: " Left out: …" or nothing.</summary>
    public override string ToString() => found.Count == 0 ? string.Empty : $" Left out: {string.Join(", ", All)}.";
}

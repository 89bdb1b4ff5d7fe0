namespace SslResearch.Core.Data;

/// <summary>What an import left out for one reason.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Count">Files and links.</param>
/// <param name="First">The first of their paths in ordinal order, a few.</param>
public sealed record LeftOut(LeftOutReason Reason, int Count, IReadOnlyList<string> First)
{
    /// <summary>For messages: "2 with unknown extension (a.txt, b.md)".</summary>
    public override string ToString()
    {
        var what = (Reason, Count) switch
        {
            (LeftOutReason.Hidden, 1) => "hidden file",
            (LeftOutReason.Hidden, _) => "hidden files",
            (LeftOutReason.Archiver, _) => "in __MACOSX",
            (LeftOutReason.Extension, _) => "with unknown extension",
            (LeftOutReason.Beside, _) => "beside the dataset's own files",
            (LeftOutReason.LinkOut, 1) => "link out of the folder",
            (LeftOutReason.LinkOut, _) => "links out of the folder",
            (_, 1) => "link to a folder that is read under its own name",
            _ => "links to folders that are read under their own names",
        };
        return $"{Count} {what} ({string.Join(", ", First)}{(Count > First.Count ? ", …" : string.Empty)})";
    }
}

namespace SslResearch.Core.Data;

/// <summary>How to import.</summary>
/// <param name="Split">The split that a single folder of classes becomes; null where the source has its own.</param>
/// <param name="Resize">What to do about sizes.</param>
/// <param name="Channels">3 or 1; null keeps what the source kind has (images and CIFAR 3, idx 1).</param>
/// <param name="SkipCorrupt">Leave out images that cannot be decoded, and report them, instead of ending with an error.</param>
/// <param name="Sha256">Expected SHA-256 of the source file, 64 hexadecimal digits; null for no check.</param>
public sealed record ImportOptions(string? Split, ResizeRule Resize, int? Channels, bool SkipCorrupt, string? Sha256)
{
    /// <summary>What is there under that name is replaced: the stated split, or else the whole dataset. Without it that is an error.</summary>
    public bool Replace { get; init; }

    /// <summary>Clips to cut from folders of frames; null for still images.</summary>
    public ClipCut? Clips { get; init; }

    /// <summary>Leave rows and columns of images as they are stored instead of turning them as their orientation tag (Exif, TIFF) says.</summary>
    public bool IgnoreOrientation { get; init; }
}

/// <summary>How sequences of frames become clips: every <paramref name="Stride"/>-th frame is kept, then each <paramref name="Frames"/> kept ones are a clip; what is left at the end is dropped.</summary>
/// <param name="Frames">T, at least 2.</param>
/// <param name="Stride">At least 1, which keeps all frames.</param>
public sealed record ClipCut(int Frames, int Stride);

/// <summary>Progress of an import or a download.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="Done">Images or bytes done.</param>
/// <param name="Total">Of how many, where that is known.</param>
public sealed record ImportReport(string Stage, long Done, long? Total);

/// <summary>One pack that an import made.</summary>
public sealed record ImportedSplit(string Split, string Path, int Count, ImageShape Shape, string Fingerprint);

/// <summary>What an import made.</summary>
/// <param name="Name">Name of the dataset.</param>
/// <param name="Splits">Its packs.</param>
/// <param name="Skipped">Corrupt images that were left out, by path, with the reason.</param>
/// <param name="LeftOut">What else of the source is in no pack, by reason.</param>
public sealed record ImportOutcome(
    string Name, IReadOnlyList<ImportedSplit> Splits, IReadOnlyList<string> Skipped, IReadOnlyList<LeftOut> LeftOut);

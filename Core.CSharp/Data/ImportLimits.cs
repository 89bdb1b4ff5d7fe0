namespace SslResearch.Core.Data;

/// <summary>How much memory an import takes beside the program itself, whatever its source.</summary>
internal static class ImportLimits
{
    /// <summary>Bytes of one encoded image, and of all that wait for a decoder.</summary>
    public const long Encoded = 256L << 20;

    /// <summary>Bytes of all pixels that decoders hold at a time, their working memory included.</summary>
    public const long Decoded = 1L << 30;

    /// <summary>Bytes of all idx or CIFAR files of a source, unpacked.</summary>
    public const long Tables = 1L << 30;

    /// <summary>Pixels of one image.</summary>
    public const long Pixels = 1L << 27;

    /// <summary>Bytes of a name in an archive; file systems allow 4096.</summary>
    public const int Name = 1 << 16;
}

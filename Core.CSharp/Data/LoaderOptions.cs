namespace SslResearch.Core.Data;

/// <summary>How batches are made. Only batch size, seed and drop-last change what is in them.</summary>
/// <param name="BatchSize">Images in one batch.</param>
/// <param name="Seed">Seed of the run: order and augmentation follow from it.</param>
/// <param name="Workers">Threads that render; 0 renders in the caller's thread.</param>
/// <param name="Prefetch">Finished or unfinished batches beyond the one in use, at least 1.</param>
/// <param name="DropLast">True leaves out the images of an epoch that fill no whole batch; false gives them as a smaller batch.</param>
public sealed record LoaderOptions(int BatchSize, ulong Seed, int Workers, int Prefetch, bool DropLast);

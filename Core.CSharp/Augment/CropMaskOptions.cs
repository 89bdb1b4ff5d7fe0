namespace SslResearch.Core.Augment;

/// <summary>Rectangles that patches are hidden in.</summary>
/// <param name="LeastPatches">Fewest patches of a rectangle, at least 1, as long as so many are still to be hidden.</param>
/// <param name="LeastRatio">Least height over width, above 0 and at most 1; the largest is its inverse.</param>
public sealed record CropMaskBlocks(int LeastPatches, double LeastRatio);

/// <summary>Which patches of a large crop are hidden; see <see cref="CropMask"/>.</summary>
/// <param name="Patch">Side of a patch in pixels; it divides the sides of large crops.</param>
/// <param name="Probability">That a crop hides patches at all.</param>
/// <param name="MinShare">Least part of the patches that such a crop hides.</param>
/// <param name="MaxShare">Largest part.</param>
/// <param name="Blocks">Rectangles; null hides single patches, strewn at random.</param>
public sealed record CropMaskOptions(int Patch, double Probability, double MinShare, double MaxShare, CropMaskBlocks? Blocks);

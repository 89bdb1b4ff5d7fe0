namespace SslResearch.Core.Augment;

/// <summary>Which patches of a large crop are hidden.</summary>
/// <param name="Patch">Side of a patch in pixels; it divides the sides of large crops.</param>
/// <param name="Probability">That a crop hides patches at all.</param>
/// <param name="MinShare">Least part of the patches that such a crop hides.</param>
/// <param name="MaxShare">Largest part.</param>
/// <param name="Shape">The shapes that they form.</param>
public sealed record CropMaskOptions(int Patch, double Probability, double MinShare, double MaxShare, PatchMask Shape);

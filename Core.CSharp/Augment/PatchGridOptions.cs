namespace SslResearch.Core.Augment;

/// <summary>How a view is cut into a 3×3 grid of patches.</summary>
/// <param name="Size">Side of a patch in pixels.</param>
/// <param name="Gap">Pixels between neighbouring cells, so between any two patches at least.</param>
/// <param name="Jitter">True cuts each patch at a random place of its cell, drawn for each patch; false from the cell's centre.</param>
/// <param name="Normalise">True gives every channel of every patch mean 0 and deviation 1.</param>
public sealed record PatchGridOptions(int Size, int Gap, bool Jitter, bool Normalise);

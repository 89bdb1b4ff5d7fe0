namespace SslResearch.Core.Augment;

/// <summary>What <see cref="BlocksAugmenter"/> shows and hides. Shares are parts of all patches of a view.</summary>
/// <param name="Patch">Side of a patch in pixels; it divides the sides of the view.</param>
/// <param name="Blocks">M: target blocks of each image.</param>
/// <param name="MinTarget">Least share of a target block.</param>
/// <param name="MaxTarget">Largest share of a target block.</param>
/// <param name="MinRatio">Least height of a target block over its width.</param>
/// <param name="MaxRatio">Largest height of a target block over its width.</param>
/// <param name="MinContext">Least share of the block that the context is taken from.</param>
/// <param name="MaxContext">Largest share of the block that the context is taken from.</param>
/// <param name="Visible">Share of the context itself.</param>
public sealed record BlocksOptions(
    int Patch,
    int Blocks,
    double MinTarget,
    double MaxTarget,
    double MinRatio,
    double MaxRatio,
    double MinContext,
    double MaxContext,
    double Visible);

namespace SslResearch.Core.Models;

/// <summary>What tells the patches of a <see cref="VisionTransformer"/> apart.</summary>
public enum PositionEncoding
{
    /// <summary>A learned vector for each patch and the CLS token (Dosovitskiy et al. 2021).</summary>
    Learned,

    /// <summary>Fixed sines and cosines of column and row; none for the CLS token (MAE, He et al. 2022).</summary>
    SinCos,
}

/// <summary>How a table of positions is sampled for images of another size.</summary>
public enum PositionResizing
{
    /// <summary>The middles of patches map to each other, so that a table that mirrors itself goes on doing so.</summary>
    Size,

    /// <summary>
    /// DINO adds 0.1 patch to the wanted side before it divides, and torch samples at the resulting scale, a little to the left and above: for weights
    /// that were trained so.
    /// </summary>
    DinoScale,
}

/// <summary>What becomes the feature vector of a <see cref="VisionTransformer"/>.</summary>
public enum TokenPool
{
    /// <summary>The CLS token.</summary>
    Cls,

    /// <summary>The mean of the patch tokens.</summary>
    Mean,
}

/// <summary>Which vision transformer. DeiT's sizes (width, heads) are tiny (192, 3), small (384, 6) and base (768, 12), each 12 deep.</summary>
/// <param name="ImageSize">Height and width that positions are made for; at other sizes they are interpolated.</param>
/// <param name="Patch">Side of a patch; it divides the sides of images.</param>
/// <param name="Width">Length of a token.</param>
/// <param name="Depth">Blocks.</param>
/// <param name="Heads">Attention heads; they divide the width.</param>
/// <param name="MlpRatio">Width of a block's hidden layer over that of a token.</param>
/// <param name="Registers">Further learned tokens beside CLS, without position (Darcet et al. 2024); 0 for none.</param>
/// <param name="Positions">What tells patches apart.</param>
/// <param name="Pool">What becomes the feature vector.</param>
/// <param name="LayerScale">Initial factor of each branch's channels, then learned; null for none.</param>
/// <param name="DropPath">Stochastic depth of the last block; it grows linearly from 0 at the first.</param>
/// <param name="QkvBias">Whether queries, keys and values have a bias.</param>
/// <param name="NormEpsilon">ε of the layer normalisations; DINO, timm and MAE take 1e-6.</param>
/// <param name="Channels">Channels of the images.</param>
public sealed record VitOptions(
    (int Height, int Width) ImageSize,
    int Patch,
    int Width,
    int Depth,
    int Heads,
    double MlpRatio,
    int Registers,
    PositionEncoding Positions,
    TokenPool Pool,
    double? LayerScale,
    double DropPath,
    bool QkvBias,
    double NormEpsilon,
    int Channels)
{
    /// <summary>How positions are interpolated.</summary>
    public PositionResizing Resizing { get; init; } = PositionResizing.Size;
}

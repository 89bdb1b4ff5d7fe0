using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>An encoder: images in, one feature vector an image out.</summary>
public abstract class Backbone(string name) : nn.Module<Tensor, Tensor>(name)
{
    /// <summary>Name of the layer that <c>forward</c> returns.</summary>
    public const string Output = "h";

    /// <summary>Length of the feature vector h.</summary>
    public abstract int FeatureCount { get; }

    /// <summary>Layers that <see cref="Layer"/> serves, from input to <see cref="Output"/>.</summary>
    public abstract IReadOnlyList<string> Layers { get; }

    /// <summary>Features of one layer, pooled over positions.</summary>
    /// <param name="images">(N, C, H, W) float32, normalised.</param>
    /// <param name="layer">One of <see cref="Layers"/>.</param>
    /// <returns>(N, d) float32.</returns>
    /// <exception cref="ArgumentException">No such layer.</exception>
    public abstract Tensor Layer(Tensor images, string layer);

    /// <summary>The features before pooling: what decoders and dense losses work on.</summary>
    /// <param name="images">(N, C, H, W) float32, normalised.</param>
    /// <returns>(N, <see cref="FeatureCount"/>, h, w) float32.</returns>
    public abstract Tensor Map(Tensor images);

    /// <summary>A new network of the same architecture, its weights not set: what becomes a teacher.</summary>
    public abstract Backbone Twin();
}

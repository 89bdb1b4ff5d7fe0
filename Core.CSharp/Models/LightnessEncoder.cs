using SslResearch.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace SslResearch.Core.Models;

/// <summary>
/// An encoder that sees only the lightness of colour images: L*/100 as a gray image in the normalisation of the images themselves, then the
/// inner encoder. Has no parameters of its own.
/// </summary>
public sealed class LightnessEncoder : Backbone
{
    private const int Channels = 3;

    private readonly Backbone inner;
    private readonly double[] mean;
    private readonly double[] std;

    /// <param name="inner">Takes three channels; belongs to this one from here on.</param>
    /// <param name="mean">Of the images' normalisation, one for each channel.</param>
    /// <param name="std">Likewise.</param>
    /// <exception cref="ArgumentException">Not three means and stds.</exception>
    public LightnessEncoder(Backbone inner, IReadOnlyList<double> mean, IReadOnlyList<double> std)
        : base(nameof(LightnessEncoder))
    {
        if (mean.Count != Channels || std.Count != Channels)
        {
            throw new ArgumentException($"Lightness needs images with red, green and blue; received {mean.Count} means and {std.Count} stds.", nameof(mean));
        }

        this.inner = inner;
        this.mean = [.. mean];
        this.std = [.. std];
        register_module(nameof(inner), inner);
    }

    /// <summary>The encoder that gets the lightness.</summary>
    public Backbone Inner => inner;

    /// <inheritdoc/>
    public override int FeatureCount => inner.FeatureCount;

    /// <inheritdoc/>
    public override IReadOnlyList<string> Layers => inner.Layers;

    /// <summary>Features of the lightness of colour images.</summary>
    /// <param name="input">(N, 3, H, W) float32, normalised sRGB.</param>
    /// <returns>(N, <see cref="FeatureCount"/>).</returns>
    public override Tensor forward(Tensor input)
    {
        using var gray = Gray(input);
        return inner.call(gray);
    }

    /// <inheritdoc/>
    public override Tensor Layer(Tensor images, string layer)
    {
        using var gray = Gray(images);
        return inner.Layer(gray, layer);
    }

    /// <inheritdoc/>
    public override Tensor Map(Tensor images)
    {
        using var gray = Gray(images);
        return inner.Map(gray);
    }

    /// <inheritdoc/>
    public override Backbone Twin() => new LightnessEncoder(inner.Twin(), mean, std);

    /// <summary>Lightness as the inner encoder takes it.</summary>
    /// <param name="lightness">(N, 1, H, W), L* from 0 to 100.</param>
    /// <returns>(N, 3, H, W): (L*/100 − mean)/std for each channel.</returns>
    public Tensor Input(Tensor lightness)
    {
        using var scope = NewDisposeScope();
        var planes = Enumerable.Range(0, Channels).Select(c => lightness.mul(Scalars.Of(1 / (100 * std[c]))).sub_(Scalars.Of(mean[c] / std[c])));
        return cat(planes.ToArray(), 1).MoveToOuterDisposeScope();
    }

    /// <summary>L* of normalised colour images, as <see cref="CieLab.FromSrgb"/> has it.</summary>
    /// <param name="images">(N, 3, H, W).</param>
    /// <returns>(N, 1, H, W).</returns>
    public Tensor Lightness(Tensor images)
    {
        if (images.shape is not [_, Channels, _, _])
        {
            throw new ArgumentException($"expected (N, {Channels}, H, W), received ({string.Join(", ", images.shape)})", nameof(images));
        }

        using var scope = NewDisposeScope();
        Tensor? luminance = null; // (N, 1, H, W)
        for (var c = 0; c < Channels; c++)
        {
            var value = images.narrow(1, c, 1).mul(Scalars.Of(std[c])).add_(Scalars.Of(mean[c])).clamp_(Scalars.Of(0), Scalars.Of(1));
            var power = value.add(Scalars.Of(CieLab.PowerOffset)).mul_(Scalars.Of(1 / (1 + CieLab.PowerOffset))).pow_(Scalars.Of(CieLab.Power));
            var linear = where(value.gt(Scalars.Of(CieLab.LinearUpTo)), power, value.mul(Scalars.Of(CieLab.LinearSlope))).mul_(Scalars.Of(CieLab.Matrix[Channels + c]));
            luminance = luminance is null ? linear : luminance.add_(linear);
        }

        var line = luminance!.mul(Scalars.Of(CieLab.RootSlope)).add_(Scalars.Of(CieLab.RootOffset));
        return where(luminance.gt(Scalars.Of(CieLab.RootFrom)), luminance.pow(Scalars.Of(1.0 / 3)), line).mul_(Scalars.Of(116)).sub_(Scalars.Of(16)).MoveToOuterDisposeScope();
    }

    private Tensor Gray(Tensor images)
    {
        using var lightness = Lightness(images);
        return Input(lightness);
    }
}

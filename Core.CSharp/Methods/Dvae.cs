using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// Discrete variational autoencoder (Ramesh et al. 2021, section 2.1 and appendix A): the encoder gives logits over a vocabulary at each position of its
/// feature map, a relaxed draw from them (<see cref="GumbelSoftmax"/>) mixes the words' vectors, a decoder makes pixels of these; the loss is the
/// pixels' error plus the weighted divergence of the logits from the uniform distribution (<see cref="UniformDivergence"/>). Trained, it names every
/// patch by its likeliest word.
/// </summary>
public sealed class Dvae : ISslMethod<OneView>, ITokenizer, IPictured<OneView>
{
    // Images whose quality is measured at once.
    private const int Chunk = 256;

    private static readonly string[] Columns = ["input", "words", "decoded"];

    private readonly DvaeOptions options;
    private readonly TokenHead head;
    private readonly TokenDecoder decoder;
    private readonly torch.Tensor mean; // (1, C, 1, 1)
    private readonly torch.Tensor std; // (1, C, 1, 1)

    /// <param name="encoder">Any network with a feature map; its stride is the side of a patch. Belongs to the method from here on.</param>
    /// <param name="options">Everything else.</param>
    /// <param name="device">Where training runs.</param>
    /// <exception cref="ArgumentException">Impossible options, or an encoder and a decoder of different strides.</exception>
    public Dvae(Backbone encoder, DvaeOptions options, torch.Device device)
    {
        MethodOptions.Positive(options.Temperature, "temperature");
        MethodOptions.Positive(options.FinalTemperature, "final temperature");
        MethodOptions.Fraction(options.TemperatureDecay, "temperature decay");
        MethodOptions.Fraction(options.KlWarmup, "KL warm-up");
        if (!(options.KlWeight >= 0) || !double.IsFinite(options.KlWeight))
        {
            throw new ArgumentException($"The KL weight must be 0 or more; received {options.KlWeight}.", nameof(options));
        }

        var channels = options.ImageSize.Channels;
        if (options.Mean.Count != channels || options.Std.Count != channels)
        {
            throw new ArgumentException($"Images of {channels} channels need as many means and stds; received {options.Mean.Count} and {options.Std.Count}.", nameof(options));
        }

        this.options = options;
        Encoder = encoder;
        Patch = Stride(encoder, options.ImageSize);
        head = new TokenHead(encoder.FeatureCount, options.Vocabulary, options.NormLogits);
        decoder = new TokenDecoder(
            options.Vocabulary, options.CodeWidth, options.Decoder, options.DecoderBlocks, options.Pixels == PixelLikelihood.LogitLaplace ? 2 * channels : channels);
        if (decoder.Factor != Patch)
        {
            var stages = options.Decoder.Count;
            head.Dispose();
            decoder.Dispose();
            throw new ArgumentException(
                $"A decoder of {stages} stages draws patches of {1 << (stages - 1)} pixels, but the encoder's have {Patch}: each stage after the first doubles the size; "
                + "give more or fewer widths, or an encoder of another stride, a power of two.",
                nameof(options));
        }

        using var scope = torch.NewDisposeScope();
        mean = Constant(options.Mean);
        std = Constant(options.Std);
        Trained = [("encoder", encoder), ("head", head), ("decoder", decoder)];

        torch.Tensor Constant(IReadOnlyList<double> values) =>
            torch.tensor(values.Select(v => (float)v).ToArray()).reshape(1, channels, 1, 1).to(device).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public Backbone Encoder { get; }

    /// <summary>None: what follows the encoder serves positions, not images.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <inheritdoc/>
    public int Vocabulary => options.Vocabulary;

    /// <inheritdoc/>
    public int Patch { get; }

    /// <summary>None: the error of a decoder that is told nothing depends on the images.</summary>
    public LossLevels Levels(int batchSize) => new(null, null);

    /// <summary>Loss; embedding = the encoder's map, mean over positions (N, d); assignment = softmax of the logits, mean over an image's positions (N, V).</summary>
    public StepOutput Forward(OneView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var images = views.Images;
        var map = Map(images); // (N, d, h, w)
        var logits = head.call(map); // (N·h·w, V)
        var temperature = GumbelSoftmax.Temperature(
            options.Temperature, options.FinalTemperature, Steps(options.TemperatureDecay, context), context.Step);
        var assignment = GumbelSoftmax.Relax(logits, GumbelSoftmax.Noise(logits), temperature); // (N·h·w, V)
        var loss = Error(decoder.Draw(decoder.Mix(assignment), (int)map.size(2), (int)map.size(3)), images);
        var weight = UniformDivergence.Weight(options.KlWeight, Steps(options.KlWarmup, context), context.Step);
        if (weight > 0)
        {
            using Scalar factor = weight.ToScalar();
            loss = loss.add(UniformDivergence.Mean(logits).mul(factor));
        }

        torch.Tensor words;
        using (torch.no_grad())
        {
            words = torch.nn.functional.softmax(logits.detach(), 1).reshape(images.size(0), -1, options.Vocabulary).mean([1L]);
        }

        return new StepOutput(loss.MoveToOuterDisposeScope(), map.detach().mean([2, 3]).MoveToOuterDisposeScope(), words.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public torch.Tensor Tokens(torch.Tensor images)
    {
        using var frozen = new FrozenPass(Trained.Select(t => t.Module));
        return Words(images);
    }

    /// <summary>How well images survive being named word by word, without noise and in evaluation mode. Sees every image whole: give those of a test split.</summary>
    /// <param name="images">(N, C, H, W) float32, normalised.</param>
    /// <returns>
    /// Peak signal-to-noise ratio in decibels, 10·log₁₀(1/MSE) with the mean squared error over all images of pixels from 0 to 1, decoded ones held
    /// within; and the part of the vocabulary that occurs, 0 to 1, which needs many more patches than there are words to mean something.
    /// </returns>
    public (double Psnr, double Usage) Quality(torch.Tensor images)
    {
        using var frozen = new FrozenPass(Trained.Select(t => t.Module));
        var used = new bool[options.Vocabulary];
        var squares = 0.0;
        for (var start = 0L; start < images.size(0); start += Chunk)
        {
            using var scope = torch.NewDisposeScope();
            var part = images.narrow(0, start, Math.Min(Chunk, images.size(0) - start));
            var words = Words(part);
            using var host = words.cpu();
            foreach (var word in host.data<long>())
            {
                used[word] = true;
            }

            squares += Decoded(words, part).sub(part.mul(std).add(mean)).square().sum(torch.float64).item<double>();
        }

        return (10 * Math.Log10(images.numel() / squares), used.Count(u => u) / (double)used.Length);
    }

    /// <summary>The image, its patches in the colours of their words, and what the decoder makes of the words alone.</summary>
    /// <inheritdoc/>
    public MethodPicture Picture(OneView views, in StepContext context)
    {
        using var frozen = new FrozenPass(Trained.Select(t => t.Module));
        using var scope = torch.NewDisposeScope();
        var images = views.Images;
        var words = Words(images);
        var pictures = new[] { images, Coloured(words, images), Drawn(words, images) };
        return new MethodPicture(Columns, torch.stack(pictures.Select(Rgb).ToArray(), 1).MoveToOuterDisposeScope());
    }

    /// <summary>Patches in the colours of their words, normalised.</summary>
    /// <param name="words">(N, P) int64.</param>
    /// <param name="images">(N, C, H, W), for the size.</param>
    /// <returns>(N, 3, H, W).</returns>
    internal torch.Tensor Coloured(torch.Tensor words, torch.Tensor images)
    {
        using var scope = torch.NewDisposeScope();
        var colours = TokenColours.Map(words, (int)images.size(2) / Patch, (int)images.size(3) / Patch, Patch, options.Vocabulary);
        return colours.sub(mean).div(std).MoveToOuterDisposeScope();
    }

    /// <summary>What the decoder makes of words alone, normalised; no gradient.</summary>
    /// <param name="words">(N, P) int64.</param>
    /// <param name="images">(N, C, H, W), for the size.</param>
    /// <returns>(N, C, H, W).</returns>
    internal torch.Tensor Drawn(torch.Tensor words, torch.Tensor images)
    {
        using var frozen = new FrozenPass(Trained.Select(t => t.Module));
        using var scope = torch.NewDisposeScope();
        return Decoded(words, images).sub(mean).div(std).MoveToOuterDisposeScope();
    }

    /// <summary>Images of one channel as images of three.</summary>
    internal static torch.Tensor Rgb(torch.Tensor images) => images.size(1) switch
    {
        3 => images,
        1 => images.expand(-1, 3, -1, -1),
        var channels => throw new ArgumentException($"expected images of 1 or 3 channels, received {channels}", nameof(images)),
    };

    /// <inheritdoc/>
    public void Dispose()
    {
        mean.Dispose();
        std.Dispose();
        decoder.Dispose();
        head.Dispose();
        Encoder.Dispose();
    }

    private static long Steps(double part, in StepContext context) => (long)Math.Round(part * context.TotalSteps, MidpointRounding.AwayFromZero);

    /// <summary>Pixels between neighbouring positions of the encoder's map, seen on an empty image.</summary>
    private static int Stride(Backbone encoder, (int Channels, int Height, int Width) size)
    {
        using var frozen = new FrozenPass(encoder); // running statistics stay as they are
        using var scope = torch.NewDisposeScope();
        var map = encoder.Map(torch.zeros(1, size.Channels, size.Height, size.Width));
        var stride = size.Height / map.size(2);
        return stride * map.size(2) == size.Height && stride * map.size(3) == size.Width
            ? (int)stride
            : throw new ArgumentException(
                $"The encoder makes a map of {map.size(2)}x{map.size(3)} of images of {size.Height}x{size.Width}: tokens need one position for each square patch.", nameof(encoder));
    }

    private torch.Tensor Map(torch.Tensor images)
    {
        var map = Encoder.Map(images);
        return map.size(2) * Patch == images.size(2) && map.size(3) * Patch == images.size(3)
            ? map
            : throw new ArgumentException(
                $"Images of {images.size(2)}x{images.size(3)} cannot be cut into patches of {Patch}: give views whose sides are multiples of {Patch}.", nameof(images));
    }

    /// <summary>(N, P) int64, as <see cref="Tokens"/>; evaluation mode is the caller's.</summary>
    private torch.Tensor Words(torch.Tensor images)
    {
        using var scope = torch.NewDisposeScope();
        return RowMaxima.Columns(head.call(Map(images))).reshape(images.size(0), -1).MoveToOuterDisposeScope();
    }

    /// <summary>What the decoder makes of words: pixels from 0 to 1, shaped as <paramref name="images"/>.</summary>
    private torch.Tensor Decoded(torch.Tensor words, torch.Tensor images)
    {
        using var scope = torch.NewDisposeScope();
        var values = decoder.Draw(decoder.Look(words.reshape(-1)), (int)images.size(2) / Patch, (int)images.size(3) / Patch);
        return (options.Pixels == PixelLikelihood.LogitLaplace
            ? LogitLaplace.Pixels(values.narrow(1, 0, images.size(1)))
            : values.mul(std).add(mean).clamp(Scalars.Of(0), Scalars.Of(1))).MoveToOuterDisposeScope();
    }

    private torch.Tensor Error(torch.Tensor values, torch.Tensor images)
    {
        if (options.Pixels == PixelLikelihood.SquaredError)
        {
            return torch.nn.functional.mse_loss(values, images);
        }

        var channels = images.size(1);
        return LogitLaplace.Loss(values.narrow(1, 0, channels), values.narrow(1, channels, channels), images.mul(std).add_(mean));
    }
}

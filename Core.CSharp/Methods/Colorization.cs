using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Runtime;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>
/// Colorization (Zhang et al. 2016): the encoder sees the lightness, a decoder on its feature map predicts the chroma at each position, as bins
/// (<see cref="ColourCrossEntropy"/>) or as values (<see cref="AbRegression"/>).
/// </summary>
/// <remarks>
/// How often each colour occurs, which the paper counts over its whole training set beforehand, is the running mean over the batches so far
/// with one uniform batch before the first: a function of the batches alone, kept in <see cref="State"/>.
/// </remarks>
public sealed class Colorization : ISslMethod<LabView>
{
    private readonly LightnessEncoder encoder;
    private readonly ColourDecoder decoder;
    private readonly ColourObjective objective;
    private readonly SoftBins? bins;
    private readonly torch.Tensor? prior; // (Q)

    /// <param name="inner">The network to train, for three channels; belongs to the method from here on.</param>
    /// <param name="options">Decoder, objective, normalisation.</param>
    /// <param name="device">Where training runs.</param>
    /// <exception cref="ArgumentException">Images without three channels, or values out of range.</exception>
    public Colorization(Backbone inner, ColorizationOptions options, torch.Device device)
    {
        objective = options.Objective;
        encoder = new LightnessEncoder(inner, options.Mean, options.Std);
        var state = new Dictionary<string, torch.Tensor>();
        switch (objective)
        {
            case RegressionObjective regression:
                if (!(regression.Scale > 0 && regression.Unit > 0) || !double.IsFinite(regression.Scale) || !double.IsFinite(regression.Unit))
                {
                    throw new ArgumentException($"Scale and unit must be positive; received {regression.Scale} and {regression.Unit}.", nameof(options));
                }

                decoder = new ColourDecoder(inner.FeatureCount, options.Decoder, 2);
                break;
            case QuantisedObjective quantised:
                if (!(quantised.UniformShare > 0 && quantised.UniformShare <= 1))
                {
                    throw new ArgumentException($"The uniform share must be above 0 and at most 1; received {quantised.UniformShare}.", nameof(options));
                }

                bins = new SoftBins(CieLab.GamutGrid(quantised.Step), quantised.Step, quantised.Neighbours, quantised.Sigma, device);
                prior = torch.full(bins.Count, Scalars.Of(1f / bins.Count), device: device).DetachFromDisposeScope();
                state["prior"] = prior;
                decoder = new ColourDecoder(inner.FeatureCount, options.Decoder, bins.Count);
                break;
            default:
                throw new ArgumentException($"Unknown objective {objective.GetType().Name}.", nameof(options));
        }

        State = state;
        Trained = [("encoder", inner), ("decoder", decoder)];
    }

    /// <summary>The inner encoder behind the conversion of colour images to their lightness.</summary>
    public Backbone Encoder => encoder;

    /// <summary>None: the decoder makes maps of colours, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; }

    /// <summary>Bins: ln Q, all colours held equally likely. Values: none, for it depends on the colours of the data.</summary>
    public LossLevels Levels(int batchSize) => new(bins is null ? null : ColourCrossEntropy.Chance(bins.Count), null);

    /// <inheritdoc/>
    public StepOutput Forward(LabView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var map = encoder.Inner.Map(encoder.Input(views.Lightness)); // (N, d, h', w')
        Check(map, views.Chroma);
        var predicted = decoder.call(map); // (N, h, w, 2 or Q)
        predicted = predicted.reshape(-1, predicted.shape[3]); // (M, 2 or Q)
        var chroma = views.Chroma.permute(0, 2, 3, 1).reshape(-1, 2); // (M, 2)
        var loss = objective is RegressionObjective regression
            ? AbRegression.Loss(predicted, chroma, regression.Scale, regression.Unit)
            : Quantised((QuantisedObjective)objective, predicted, chroma, context.Step);
        return new StepOutput(loss.MoveToOuterDisposeScope(), map.detach().mean([2, 3]).MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        bins?.Dispose();
        prior?.Dispose();
        decoder.Dispose();
        encoder.Dispose();
    }

    private torch.Tensor Quantised(QuantisedObjective quantised, torch.Tensor logits, torch.Tensor chroma, long step)
    {
        torch.Tensor nearest, shares, rarity;
        using (torch.no_grad())
        {
            (nearest, shares) = bins!.Encode(chroma);
            var share = 1.0 / (step + 2);
            prior!.mul_(Scalars.Of(1 - share)).add_(bins.Frequencies(nearest.select(1, 0)), alpha: Scalars.Of(share));
            rarity = ColourCrossEntropy.Rarity(bins.Smooth(prior), quantised.UniformShare);
        }

        return ColourCrossEntropy.Loss(logits, nearest, shares, rarity);
    }

    private void Check(torch.Tensor map, torch.Tensor chroma)
    {
        var (m, c, factor) = (map.shape, chroma.shape, decoder.Factor);
        if (m[2] * factor != c[2] || m[3] * factor != c[3])
        {
            throw new ArgumentException(
                $"The decoder makes {m[2] * factor}x{m[3] * factor} of the encoder's {m[2]}x{m[3]}, but chroma is {c[2]}x{c[3]}: every width of Decoder doubles the size; "
                + "give more or fewer, or another stride of chroma.");
        }
    }
}

using SslResearch.Core.Losses;
using SslResearch.Core.Models;
using SslResearch.Core.Views;
using TorchSharp;

namespace SslResearch.Core.Methods;

/// <summary>Choices of <see cref="Mae"/>.</summary>
/// <param name="Decoder">What predicts the hidden patches.</param>
/// <param name="NormaliseTargets">Whether each patch is predicted less its own mean and over its own deviation, else its normalised pixels as they are.</param>
public sealed record MaeOptions(MaeDecoderOptions Decoder, bool NormaliseTargets);

/// <summary>
/// Masked autoencoder (He et al. 2022): the encoder sees the visible patches alone; a narrow decoder on its tokens, with a mask token for each hidden patch,
/// predicts the hidden patches' pixels.
/// </summary>
/// <remarks>CLS passes encoder and decoder as any token does, though nothing is predicted from it; registers end with the encoder.</remarks>
public sealed class Mae : ISslMethod<MaskedView>, IPictured<MaskedView>
{
    private readonly MaeOptions options;
    private readonly VisionTransformer encoder;
    private readonly MaeDecoder decoder;

    /// <param name="encoder">The network to train; belongs to the method from here on.</param>
    /// <param name="options">Decoder and targets.</param>
    /// <exception cref="ArgumentException">No vision transformer, or an option out of its range.</exception>
    public Mae(Backbone encoder, MaeOptions options)
    {
        this.encoder = encoder as VisionTransformer
            ?? throw new ArgumentException($"MAE leaves out patches, which takes a vision transformer; received {encoder.GetType().Name}.", nameof(encoder));
        this.options = options;
        var vit = this.encoder.Options;
        decoder = new MaeDecoder(
            vit.Width, options.Decoder, (vit.ImageSize.Height / vit.Patch, vit.ImageSize.Width / vit.Patch), vit.Patch * vit.Patch * vit.Channels);
        Trained = [("encoder", this.encoder), ("decoder", decoder)];
    }

    /// <inheritdoc/>
    public Backbone Encoder => encoder;

    /// <summary>None: the decoder makes patches, not an embedding.</summary>
    public torch.nn.Module<torch.Tensor, torch.Tensor>? Projector => null;

    /// <inheritdoc/>
    public IReadOnlyList<(string Prefix, torch.nn.Module Module)> Trained { get; }

    /// <inheritdoc/>
    public IReadOnlyList<MovingAverage> Teachers => [];

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, torch.Tensor> State { get; } = new Dictionary<string, torch.Tensor>();

    /// <summary>Normalised targets: what predicting 0 costs, see <see cref="MaskedPatchLoss.Chance"/>. Else none, for it depends on the images.</summary>
    public LossLevels Levels(int batchSize) =>
        new(options.NormaliseTargets ? MaskedPatchLoss.Chance(encoder.Options.Patch * encoder.Options.Patch * encoder.Options.Channels) : null, null);

    /// <summary>Loss over hidden patches; embedding = the mean of the visible patches' tokens (N, d).</summary>
    public StepOutput Forward(MaskedView views, in StepContext context)
    {
        using var scope = torch.NewDisposeScope();
        var grid = Grid(views);
        var tokens = Encode(views); // (N, 1 + registers + V, d)
        var predicted = Predict(tokens, views, grid);
        var hidden = Hidden(views);
        var loss = MaskedPatchLoss.MeanSquare(predicted, options.NormaliseTargets ? MaskedPatchLoss.Normalise(hidden) : hidden);
        var embedding = encoder.Patches(tokens).detach().mean([1L]);
        return new StepOutput(loss.MoveToOuterDisposeScope(), embedding.MoveToOuterDisposeScope());
    }

    /// <inheritdoc/>
    public void AfterUpdate(in StepContext context)
    {
    }

    /// <summary>
    /// input | masked | reconstruction. Visible patches are the input's own. Predictions of normalised targets say nothing of a patch's mean and
    /// contrast: these are the input's own too, so that the picture shows structure alone.
    /// </summary>
    public MethodPicture Picture(MaskedView views, in StepContext context)
    {
        using var frozen = new FrozenPass(encoder, decoder);
        using var scope = torch.NewDisposeScope();
        var predicted = Predict(Encode(views), views, Grid(views));
        if (options.NormaliseTargets)
        {
            var (mean, deviation) = MaskedPatchLoss.Statistics(Hidden(views));
            predicted = predicted.mul(deviation).add_(mean);
        }

        var picture = HiddenPatches.Picture(views, predicted);
        return picture with { Images = picture.Images.MoveToOuterDisposeScope() };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        decoder.Dispose();
        encoder.Dispose();
    }

    private torch.Tensor Encode(MaskedView views) =>
        encoder.Norm(encoder.Blocks(encoder.Sequence(TokenRows.Take(encoder.Embed(views.Images), views.VisibleIndices()))));

    private torch.Tensor Predict(torch.Tensor tokens, MaskedView views, (int Rows, int Columns) grid)
    {
        var seen = tokens.size(1) == views.Visible + 1
            ? tokens
            : torch.cat([tokens.narrow(1, 0, 1), encoder.Patches(tokens)], 1);
        return decoder.Predict(seen, views.Order, grid); // (N, hidden, p·p·C)
    }

    private torch.Tensor Hidden(MaskedView views) =>
        TokenRows.Take(MaskedPatchLoss.Patchify(views.Images, encoder.Options.Patch), views.HiddenIndices());

    private (int Rows, int Columns) Grid(MaskedView views)
    {
        var (side, rows, columns) = HiddenPatches.Grid(views);
        if (side != encoder.Options.Patch)
        {
            throw new ArgumentException($"The masks hide patches of {side} pixels, but the encoder's are of {encoder.Options.Patch}: give both the same.", nameof(views));
        }

        return views.Visible > 0
            ? (rows, columns)
            : throw new ArgumentException($"All {views.Patches} patches are hidden, so that the encoder sees nothing: give a smaller ratio.", nameof(views));
    }
}
